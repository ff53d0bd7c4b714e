# How a grant stands: the title, what to do, and the short form of the history.

phase-opening-title = One moment
phase-opening-detail = The window is being opened.
phase-opening-short = Opening

phase-open-title = Open
phase-open-detail = The licence server is open for your address. Activate now.
phase-open-short = Open

phase-connected-title = Connected
phase-connected-detail = Your connection to the licence server is running.
phase-connected-short = Connected

phase-partly-used-title = Open
phase-partly-used-detail = One connection has been used. There is more left.
phase-partly-used-short = Open, partly used

phase-all-used-title = Done
phase-all-used-detail = Your connection has been used. If the activation succeeded, there is nothing more to do.
phase-all-used-short = Used

phase-used-title = Done
phase-used-detail = Your connection has been used and the window is closed. If the activation did not succeed, sign in again.
phase-used-short = Used

phase-expired-used-title = Done
phase-expired-used-detail = Your connection has been used and the time is over. If the activation did not succeed, sign in again.
phase-expired-used-short = Used

phase-expired-unused-title = Time is over
phase-expired-unused-detail = No connection came from your address. Sign in again from the computer that is to be activated, with any VPN switched off. This one does not count against your allowance unless your site counts sign-ins.
phase-expired-unused-short = Not used

phase-expired-unanswered-title = Time is over
phase-expired-unanswered-detail = Your connection came, but the licence server did not answer it. Try again in a few minutes; if it happens again, tell your service desk.
phase-expired-unanswered-short = Licence server did not answer

phase-cancelled-title = Closed
phase-cancelled-detail = You closed the window. Sign in again whenever you need it.
phase-cancelled-short = Closed by you

phase-revoked-title = Closed
phase-revoked-detail = An operator closed the window. Ask your service desk why before you sign in again.
phase-revoked-short = Closed by an operator

phase-limit-title = Closed
phase-limit-detail = The connection did more than one activation needs, so it was ended. Sign in again for each further activation.
phase-limit-short = Ended at a limit

phase-failed-title = Not opened
phase-failed-detail = The gateway could not open the window. It does not count. Try again in a few minutes.
phase-failed-short = Not opened

phase-swept-title = Closed
phase-swept-detail = The gateway was restarted and closed the window. Sign in again.
phase-swept-short = Closed at a restart
