//! The kernel forwarder, in network namespaces.

#[cfg(test)]
mod check;
#[cfg(test)]
mod cut_points;
#[cfg(test)]
mod f09_the_end;
#[cfg(test)]
mod f10_the_guard;
#[cfg(test)]
mod f10_the_providers_network;
#[cfg(test)]
mod f_handshakes;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod gateway_life;
#[cfg(test)]
mod k_connections;
#[cfg(test)]
mod k_handshakes;
#[cfg(test)]
mod many_and_full;
#[cfg(test)]
mod p1_later_grants;
#[cfg(test)]
mod p1_one_connection_only;
#[cfg(test)]
mod p1_races;
#[cfg(test)]
mod p2_without_us;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod random_kills;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod ruleset;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod take_up;
#[cfg(test)]
mod told_once;
