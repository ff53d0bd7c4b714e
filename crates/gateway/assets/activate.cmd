@echo off
rem Activates Windows, or with the word "office" behind it Office, through the licence gateway.
rem First sign in on the gateway's page from this computer. Then run this as administrator.
setlocal
set "HOST=@HOST@"
set "PORT=@PORT@"
net session >nul 2>&1
if errorlevel 1 (
  echo Run this as administrator: right-click it and choose "Run as administrator".
  exit /b 1
)
if /i "%~1"=="office" goto office

cscript //nologo "%SystemRoot%\System32\slmgr.vbs" /skms %HOST%:%PORT%
if errorlevel 1 exit /b 1
cscript //nologo "%SystemRoot%\System32\slmgr.vbs" /ato
exit /b %errorlevel%

:office
for %%D in ("%ProgramFiles%" "%ProgramFiles(x86)%") do (
  if exist "%%~D\Microsoft Office\Office16\ospp.vbs" (
    cscript //nologo "%%~D\Microsoft Office\Office16\ospp.vbs" /sethst:%HOST%
    cscript //nologo "%%~D\Microsoft Office\Office16\ospp.vbs" /setprt:%PORT%
    cscript //nologo "%%~D\Microsoft Office\Office16\ospp.vbs" /act
    exit /b
  )
)
echo No Office with a volume licence was found on this computer.
exit /b 1
