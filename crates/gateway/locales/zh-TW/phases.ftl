# 開放時段的狀態：標題、該做什麼，以及紀錄中的簡稱。

phase-opening-title = 請稍候
phase-opening-detail = 正在為您開放。
phase-opening-short = 開放中

phase-open-title = 已開放
phase-open-detail = 授權伺服器已為您的位址開放，請立即啟用。
phase-open-short = 已開放

phase-connected-title = 連線中
phase-connected-detail = 您與授權伺服器的連線正在進行。
phase-connected-short = 連線中

phase-partly-used-title = 已開放
phase-partly-used-detail = 已用掉部分連線次數，仍有剩餘。
phase-partly-used-short = 已開放，部分使用

phase-all-used-title = 完成
phase-all-used-detail = 您的連線次數已用完。如果啟用成功，就不必再做任何事。
phase-all-used-short = 已使用

phase-used-title = 完成
phase-used-detail = 您的連線次數已用完，時段已關閉。如果啟用沒有成功，請重新登入。
phase-used-short = 已使用

phase-expired-used-title = 完成
phase-expired-used-detail = 您已使用連線，時間也到了。如果啟用沒有成功，請重新登入。
phase-expired-used-short = 已使用

phase-expired-unused-title = 時間到了
phase-expired-unused-detail = 沒有收到來自您位址的連線。請關閉 VPN，在要啟用的電腦上重新登入。除非貴單位以登入次數計算，否則這次不計入額度。
phase-expired-unused-short = 未使用

phase-expired-unanswered-title = 時間到了
phase-expired-unanswered-detail = 收到了您的連線，但授權伺服器沒有回應。請過幾分鐘再試；若再次發生，請通知服務台。
phase-expired-unanswered-short = 授權伺服器無回應

phase-cancelled-title = 已關閉
phase-cancelled-detail = 您已關閉這個時段。需要時請再登入。
phase-cancelled-short = 自行關閉

phase-revoked-title = 已關閉
phase-revoked-detail = 管理人員關閉了這個時段。重新登入前，請先向服務台詢問原因。
phase-revoked-short = 由管理人員關閉

phase-limit-title = 已關閉
phase-limit-detail = 這次連線超出一次啟用所需的範圍，因此已被中斷。每多一項啟用，請重新登入一次。
phase-limit-short = 超過限制而中斷

phase-failed-title = 未能開放
phase-failed-detail = 閘道器無法開放這個時段。此次不計，請過幾分鐘再試。
phase-failed-short = 未能開放

phase-swept-title = 已關閉
phase-swept-detail = 閘道器重新啟動，時段已關閉。請重新登入。
phase-swept-short = 因重新啟動而關閉
