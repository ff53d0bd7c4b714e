//! What the whole program promises, shown on the program itself: one file a promise, or a flaw of the original scheme.

#[cfg(test)]
mod clients_that_vanish;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod cut_points;
#[cfg(test)]
mod f03_a_refused_retry_costs_nothing;
#[cfg(test)]
mod f04_a_retransmission_passes;
#[cfg(test)]
mod f05_window_and_budget_are_one;
#[cfg(test)]
mod f07_provider_down_gives_back;
#[cfg(test)]
mod f09_the_end_resets_both_ends;
#[cfg(test)]
mod f11_no_control_characters;
#[cfg(test)]
mod f12_one_grant_per_address;
#[cfg(test)]
mod f13_sixty_addresses_one_quota;
#[cfg(test)]
mod f15_ten_thousand_guesses;
#[cfg(test)]
mod f15_throttle_before_the_account_server;
#[cfg(test)]
mod f17_two_people_one_address;
#[cfg(test)]
mod f20_the_page_says_what_the_forwarder_confirmed;
#[cfg(test)]
mod p1_one_connection_only;
#[cfg(test)]
mod p3_no_record_no_door;
#[cfg(test)]
mod p4_quotas_cannot_be_raced;
#[cfg(test)]
mod p5_restart_keeps_what_is_left;
#[cfg(test)]
mod p6_passwords_leave_no_trace;
#[cfg(test)]
mod p8_mail_server_faults;
#[cfg(test)]
mod p8_outage_is_not_a_wrong_password;
