# Activates Windows, or with -Product Office Office, through the licence gateway.
# First sign in on the gateway's page from this computer. Then run this as administrator.
param([ValidateSet('Windows', 'Office')] [string] $Product = 'Windows')
$ErrorActionPreference = 'Stop'
$server = '@HOST@'
$port = '@PORT@'

$me = [Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Write-Host 'Run this in a PowerShell that was started as administrator.'
    exit 1
}

function Invoke-Script {
    & cscript.exe //nologo @args
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

if ($Product -eq 'Windows') {
    $slmgr = Join-Path $env:SystemRoot 'System32\slmgr.vbs'
    Invoke-Script $slmgr /skms "${server}:${port}"
    Invoke-Script $slmgr /ato
    exit 0
}

$folders = $env:ProgramFiles, ${env:ProgramFiles(x86)} | Where-Object { $_ }
$ospp = $folders | ForEach-Object { Join-Path $_ 'Microsoft Office\Office16\ospp.vbs' } | Where-Object { Test-Path $_ } | Select-Object -First 1
if (-not $ospp) {
    Write-Host 'No Office with a volume licence was found on this computer.'
    exit 1
}
Invoke-Script $ospp "/sethst:$server"
Invoke-Script $ospp "/setprt:$port"
Invoke-Script $ospp /act
