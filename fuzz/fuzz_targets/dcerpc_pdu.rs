//! Any bytes of a provider or a client: headers, answers to the bind and the count of calls never panic, and no more passes
//! than came.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kmsgate::forward::msrpc::dcerpc_pdu(data));
