# Refusals and faults. Each says what is wrong and what to do next.

fault-to-form = Back to the sign-in
fault-wait = You can try again in { $span }.

fault-bad_request-title = That was not understood
fault-bad_request-detail = The request was not well-formed. Open the sign-in page again and fill in the form.

fault-invalid_credentials-title = User name or password is wrong
fault-invalid_credentials-detail = Type both again, and check the Caps Lock key. Use the same account as for your mail or computer at this site.

fault-account_unusable-title = This account cannot be used now
fault-account_unusable-detail = Your password is right, but the account is disabled, has expired or needs a new password. Put that right with your account system or the service desk, then sign in again.

fault-too_many_attempts-title = Too many attempts
fault-too_many_attempts-detail = There were too many wrong passwords from this address or for this name. If you forgot your password, use the time to reset it.

fault-not_permitted-title = Your account may not use this
fault-not_permitted-detail = The password was right, but the rules of your site do not allow this service to your account, from this address or at this hour. Your service desk can tell you why.

fault-not_needed-title = You need not sign in here
fault-not_needed-detail = Your address belongs to a network that may use the licence server without signing in. Just activate.

fault-source_busy-title = Somebody else is using this address
fault-source_busy-detail = Another person has an open window for the address { $source }, which you share, for example through the same router. Only one person at a time can have one. Wait until it closes, or use another network, such as your phone's.

fault-quota_exhausted-title = Your allowance is used up
fault-quota_exhausted-detail = You have had as many activations as your site allows in this period. If you need another one sooner, ask your service desk.

fault-account_server_unavailable-title = Your password cannot be checked now
fault-account_server_unavailable-detail = The account system does not answer. Your password was neither accepted nor refused, and nothing was counted. Try again in a few minutes.

fault-no_provider-title = The licence server is down
fault-no_provider-detail = No licence server answers at the moment, so the window was not opened and nothing was counted. Try again in a few minutes.

fault-gateway_full-title = The gateway is full
fault-gateway_full-detail = As many windows are open as it can hold. Nothing was counted. Try again in a few minutes.

fault-ledger_unavailable-title = The gateway cannot keep its records now
fault-ledger_unavailable-detail = Nothing is opened that cannot be recorded. Nothing was counted. Try again in a few minutes, and tell the service desk if it stays like this.

fault-forwarder_unavailable-title = The window could not be opened
fault-forwarder_unavailable-detail = The gateway could not open the way to the licence server. Nothing was counted. Try again in a few minutes, and tell the service desk if it stays like this.

fault-internal-title = That is our fault
fault-internal-detail = Something went wrong inside the gateway. Try again, and tell the service desk if it happens again.

fault-abandoned-title = You went away
fault-abandoned-detail = The connection ended before the sign-in was finished. Sign in again.

fault-no-source-title = Your address could not be told
fault-no-source-detail = The way through which you came does not say whose address is to be opened. The operator has been told. Try without a VPN or web proxy, or from another network.

fault-name-empty-title = The user name is missing
fault-name-empty-detail = Type your user name.

fault-name-long-title = The user name is too long
fault-name-long-detail = A user name has at most 256 bytes. Type your own.

fault-name-character-title = This cannot be a user name
fault-name-character-detail = It has a character that no user name can have, such as a space or a line break. Type it again by hand.

fault-password-empty-title = The password is missing
fault-password-empty-detail = Type your password.

fault-password-long-title = The password is too long
fault-password-long-detail = A password has at most 1024 bytes here. Type it again.

fault-password-control-title = This cannot be a password
fault-password-control-detail = It has a line break or another control character, perhaps from copying. Type it again by hand.

fault-no-such-service-title = There is no such service
fault-no-such-service-detail = Choose one of the services that the sign-in page or /api/v1/status names.

fault-json-title = That is not the JSON that is needed
fault-json-detail = Line { $line }, column { $column } cannot be read. Send one object with the texts "username" and "password", and "service" if you like.

fault-escape-title = The form is damaged
fault-escape-detail = It has a percent sign without two hexadecimal digits. Open the sign-in page again and fill in the form.

fault-field-missing-title = Something is missing
fault-field-missing-detail = The field "{ $field }" is missing. Send it along.

fault-field-twice-title = Something is there twice
fault-field-twice-detail = The field "{ $field }" was sent more than once. Send it once.

fault-field-unknown-title = There is a field too many
fault-field-unknown-detail = Only "username", "password" and "service" are taken. Leave out the rest.

fault-cut-short-title = The request was cut short
fault-cut-short-detail = The connection ended in the middle. Try again.

fault-not-text-title = That is not readable text
fault-not-text-detail = User name and password must be UTF-8. Type them again in the form of the sign-in page.

fault-form-token-title = Please sign in once more
fault-form-token-detail = The page was open for too long, or your browser does not keep cookies. Allow cookies for this site and try again.

fault-foreign-title = That came from another site
fault-foreign-detail = Another web page tried to do something here in your name. Open the sign-in page yourself.

fault-too-large-title = That is too much
fault-too-large-detail = A request has at most 16 KiB. A user name and a password need less.

fault-too-slow-title = That took too long
fault-too-slow-detail = The request did not arrive in time. Check your connection and try again.

fault-media-type-title = Wrong kind of content
fault-media-type-detail = The form takes application/x-www-form-urlencoded, the API takes application/json, both in UTF-8 and not compressed.

fault-misdirected-title = Wrong address
fault-misdirected-detail = This portal does not go by the name that you used. Open { $address } instead.

fault-no-host-title = No host was named
fault-no-host-detail = The request must name the portal's host once. Use an ordinary browser or client.

fault-plain-http-title = This way is not encrypted
fault-plain-http-detail = A password must not travel in the clear. Open { $address } and check that it begins with https. If you typed a password, change it.

fault-not-found-title = There is nothing here
fault-not-found-detail = Nothing is at this address, or it belongs to somebody else. Go back to the sign-in page.

fault-method-title = That cannot be done here
fault-method-detail = This page takes other methods. Go back to the sign-in page.

fault-token-title = You are not signed in
fault-token-detail = The token or session is missing, wrong or too old. Sign in again.

fault-too-many-views-title = Too many people are watching
fault-too-many-views-detail = No more live pages can be shown now. Reload the page to see how your window stands.
