# The pages of the portal.

skip = Skip to the content
nav-label = Pages
nav-grant = My window
nav-history = History
nav-help = Help
signed-in-as = Signed in as { $person }
sign-out = Sign out
footer = Your password goes to your account system and is not kept here.
copy = Copy
copied = Copied

form-title = Sign in to activate
form-lead = Use the account that you already have. The licence server then opens for this computer, for a few minutes.
form-username = User name
form-password = Password
form-service = Service
form-submit = Sign in
form-this-computer = Sign in from the computer that is to be activated.
form-no-vpn = Switch off any VPN or web proxy first.
form-source = It will be opened for your address:
form-standing = A window of yours is still open.
form-standing-link = Go to it

grant-remaining = left
grant-until = Open until
grant-source = Open for
grant-gateway = Licence server
grant-connections = Connections
grant-left = { $left } of { $of } left
grant-given-back = The licence server did not answer the last connection. It does not count: try again.
grant-shared = Somebody else used this address today. Every computer behind the same address shares this window, so connect soon.
grant-cancel = Close the window now
grant-again = Sign in again

steps-title = What to do now
steps-lead = Start a command prompt as administrator and type:
steps-office = In the folder of Office (for a 32-bit Office: Program Files (x86)):
steps-script = Or run this file as administrator:
steps-each = Each activation is one connection. If none is left, sign in again for the next one.
steps-connect = Connect to { $service } at:

history-title = History
history-lead = Your last windows.
history-none = There is none yet.
history-when = Opened
history-service = Service
history-source = For
history-came = What came of it

help-title = How it works
help-lead = The licence server is closed to the Internet. Signing in opens it for your address, for a few minutes.
help-step-1 = Go to the computer that is to be activated. Switch off any VPN or web proxy on it.
help-step-2 = Sign in with the account that you already have.
help-step-3 = Type the commands that the page shows. They name { $host } as the licence server and ask it to activate.
help-step-4 = When the page says that the connection has been used, you are done. The window closes by itself.
help-again-title = How long does it last?
help-again = Windows and Office stay activated for 180 days. Do the same again before they run out; the commands that name the licence server need not be repeated.
help-private-title = What is kept?
help-private = Who signed in, from which address, when, and whether a connection was made. Never your password.
help-reasons = When a sign-in is refused

span-seconds = { $count ->
    [one] { $count } second
   *[other] { $count } seconds
}
span-minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
span-hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
span-days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
