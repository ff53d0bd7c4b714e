# 拒絕與錯誤。每一則都說明原因，以及接下來該怎麼做。

fault-to-form = 回到登入頁
fault-wait = 請於 { $span }後再試。

fault-bad_request-title = 無法理解這個請求
fault-bad_request-detail = 請求的格式不正確。請重新開啟登入頁並填寫表單。

fault-invalid_credentials-title = 帳號或密碼錯誤
fault-invalid_credentials-detail = 請重新輸入，並檢查 Caps Lock 是否開啟。請使用您在本單位收信或登入電腦的同一個帳號。

fault-account_unusable-title = 這個帳號目前無法使用
fault-account_unusable-detail = 密碼正確，但帳號已停用、已過期或必須先更改密碼。請至帳號系統或洽服務台處理後，再重新登入。

fault-too_many_attempts-title = 嘗試次數過多
fault-too_many_attempts-detail = 這個位址或這個帳號輸入錯誤密碼的次數過多。若忘記密碼，請趁這段時間重設。

fault-not_permitted-title = 您的帳號不能使用這項服務
fault-not_permitted-detail = 密碼正確，但依貴單位的規定，您的帳號、目前的位址或時段不能使用這項服務。原因請洽服務台。

fault-not_needed-title = 您不需要登入
fault-not_needed-detail = 您的位址所屬的網路不必登入就能使用授權伺服器。請直接啟用。

fault-source_busy-title = 有其他人正在使用這個位址
fault-source_busy-detail = 與您共用位址 { $source } 的另一個人（例如經由同一台路由器）已有開放中的時段，而同一時間只能由一人使用。請等待該時段結束，或改用其他網路，例如手機的行動網路。

fault-quota_exhausted-title = 您的額度已用完
fault-quota_exhausted-detail = 您在這段期間的啟用次數已達貴單位的上限。如果急需，請洽服務台。

fault-account_server_unavailable-title = 目前無法驗證密碼
fault-account_server_unavailable-detail = 帳號系統沒有回應。您的密碼既未通過也未被拒絕，這次不計。請過幾分鐘再試。

fault-no_provider-title = 授權伺服器停止服務
fault-no_provider-detail = 目前沒有授權伺服器回應，因此沒有開放，也不計次數。請過幾分鐘再試。

fault-gateway_full-title = 閘道器已滿
fault-gateway_full-detail = 開放中的時段已達上限。這次不計，請過幾分鐘再試。

fault-ledger_unavailable-title = 閘道器目前無法寫入紀錄
fault-ledger_unavailable-detail = 無法記錄的就不會開放，這次不計。請過幾分鐘再試；若情況持續，請通知服務台。

fault-forwarder_unavailable-title = 未能開放
fault-forwarder_unavailable-detail = 閘道器無法開通前往授權伺服器的路徑，這次不計。請過幾分鐘再試；若情況持續，請通知服務台。

fault-internal-title = 這是我們的錯誤
fault-internal-detail = 閘道器內部發生問題。請再試一次；若再次發生，請通知服務台。

fault-abandoned-title = 您已離開
fault-abandoned-detail = 登入完成前連線就中斷了。請重新登入。

fault-no-source-title = 無法判斷您的位址
fault-no-source-detail = 您經過的路徑沒有說明該為哪個位址開放，已通知管理人員。請不要使用 VPN 或網頁代理伺服器，或改用其他網路再試。

fault-name-empty-title = 沒有輸入帳號
fault-name-empty-detail = 請輸入您的帳號。

fault-name-long-title = 帳號太長
fault-name-long-detail = 帳號最長 256 個位元組。請輸入您自己的帳號。

fault-name-character-title = 這不是有效的帳號
fault-name-character-detail = 其中有帳號不能使用的字元，例如空白或換行。請手動重新輸入。

fault-password-empty-title = 沒有輸入密碼
fault-password-empty-detail = 請輸入您的密碼。

fault-password-long-title = 密碼太長
fault-password-long-detail = 這裡的密碼最長 1024 個位元組。請重新輸入。

fault-password-control-title = 這不是有效的密碼
fault-password-control-detail = 其中有換行或其他控制字元，可能是複製時帶入的。請手動重新輸入。

fault-no-such-service-title = 沒有這項服務
fault-no-such-service-detail = 請從登入頁或 /api/v1/status 列出的服務中選擇。

fault-json-title = JSON 內容不符
fault-json-detail = 第 { $line } 行第 { $column } 欄無法讀取。請送出一個物件，內含文字欄位 "username" 與 "password"，"service" 可有可無。

fault-escape-title = 表單內容損壞
fault-escape-detail = 百分號後面缺少兩個十六進位數字。請重新開啟登入頁並填寫表單。

fault-field-missing-title = 缺少欄位
fault-field-missing-detail = 缺少欄位 "{ $field }"，請一併送出。

fault-field-twice-title = 欄位重複
fault-field-twice-detail = 欄位 "{ $field }" 送出了不只一次。請只送一次。

fault-field-unknown-title = 有多餘的欄位
fault-field-unknown-detail = 只接受 "username"、"password" 與 "service"。請移除其他欄位。

fault-cut-short-title = 請求不完整
fault-cut-short-detail = 連線在中途結束。請再試一次。

fault-not-text-title = 這不是可讀的文字
fault-not-text-detail = 帳號與密碼必須使用 UTF-8 編碼。請在登入頁的表單中重新輸入。

fault-form-token-title = 請再登入一次
fault-form-token-detail = 頁面開啟太久，或您的瀏覽器不保存 Cookie。請允許本站使用 Cookie 後再試。

fault-foreign-title = 這個請求來自其他網站
fault-foreign-detail = 另一個網頁試圖以您的名義在此操作。請自行開啟登入頁。

fault-too-large-title = 內容過大
fault-too-large-detail = 一個請求最多 16 KiB。帳號和密碼用不到這麼多。

fault-too-slow-title = 等候逾時
fault-too-slow-detail = 請求沒有及時送達。請檢查網路連線後再試。

fault-media-type-title = 內容類型錯誤
fault-media-type-detail = 表單須為 application/x-www-form-urlencoded，API 須為 application/json，皆使用 UTF-8 且不壓縮。

fault-misdirected-title = 網址錯誤
fault-misdirected-detail = 本站不使用您輸入的名稱。請改為開啟 { $address }。

fault-no-host-title = 沒有指明主機
fault-no-host-detail = 請求必須指明本站的主機名稱，且只能一次。請使用一般的瀏覽器或用戶端。

fault-plain-http-title = 這個連線沒有加密
fault-plain-http-detail = 密碼不能以明文傳送。請開啟 { $address }，並確認網址以 https 開頭。如果您已輸入密碼，請更改密碼。

fault-not-found-title = 這裡沒有內容
fault-not-found-detail = 這個網址沒有內容，或屬於其他人。請回到登入頁。

fault-method-title = 這裡不能這樣做
fault-method-detail = 此頁面只接受其他方法。請回到登入頁。

fault-token-title = 您尚未登入
fault-token-detail = 權杖或工作階段不存在、錯誤或已過期。請重新登入。

fault-too-many-views-title = 觀看的人太多
fault-too-many-views-detail = 目前無法再提供即時頁面。請重新整理頁面以查看狀態。
