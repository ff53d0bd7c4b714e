# 入口網站的頁面。

skip = 跳到主要內容
nav-label = 頁面
nav-grant = 我的開放時段
nav-history = 紀錄
nav-help = 說明
signed-in-as = 目前登入：{ $person }
sign-out = 登出
footer = 您的密碼只會送交帳號系統驗證，本站不會保存。
copy = 複製
copied = 已複製

form-title = 登入以進行啟用
form-lead = 請使用您現有的帳號。登入後，授權伺服器會為這台電腦開放幾分鐘。
form-username = 帳號
form-password = 密碼
form-service = 服務
form-submit = 登入
form-this-computer = 請在要啟用的那台電腦上登入。
form-no-vpn = 請先關閉 VPN 與網頁代理伺服器。
form-source = 將為您的位址開放：
form-standing = 您有一個時段仍在開放中。
form-standing-link = 前往查看

grant-remaining = 剩餘時間
grant-until = 開放至
grant-source = 開放對象
grant-gateway = 授權伺服器
grant-connections = 連線次數
grant-left = 剩 { $left } 次（共 { $of } 次）
grant-given-back = 授權伺服器沒有回應剛才的連線。該次不計，請再試一次。
grant-shared = 今天有其他人使用過這個位址。同一位址後方的所有電腦共用這個時段，請儘快連線。
grant-cancel = 立即關閉
grant-again = 重新登入

steps-title = 接下來請這樣做
steps-lead = 以系統管理員身分開啟命令提示字元，輸入：
steps-office = 切換到 Office 的資料夾（32 位元版 Office 請改用 Program Files (x86)）：
steps-script = 或以系統管理員身分執行此檔案：
steps-each = 每次啟用會用掉一次連線。若已無剩餘次數，請重新登入後再啟用下一項。
steps-connect = 請連線至 { $service }，位址如下：

history-title = 紀錄
history-lead = 您最近的開放時段。
history-none = 目前沒有紀錄。
history-when = 開放時間
history-service = 服務
history-source = 對象位址
history-came = 結果

help-title = 使用說明
help-lead = 授權伺服器不對網際網路開放。登入之後，會為您的位址開放幾分鐘。
help-step-1 = 到要啟用的那台電腦前，關閉 VPN 與網頁代理伺服器。
help-step-2 = 用您現有的帳號登入。
help-step-3 = 輸入頁面上顯示的指令。這些指令會把授權伺服器設為 { $host }，並要求啟用。
help-step-4 = 當頁面顯示連線已使用，就完成了。開放時段會自動關閉。
help-again-title = 啟用可以維持多久？
help-again = Windows 與 Office 的啟用效期為 180 天。到期前再做一次即可；設定授權伺服器的指令不必重複輸入。
help-private-title = 會保存哪些資料？
help-private = 誰在什麼時間、從哪個位址登入，以及是否建立過連線。絕不保存您的密碼。
help-reasons = 登入被拒絕時

span-seconds = { $count } 秒
span-minutes = { $count } 分鐘
span-hours = { $count } 小時
span-days = { $count } 天
