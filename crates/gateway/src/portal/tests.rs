//! The portal through its own listener, with a desk that says what the test wants.

use crate::config::{Health, Portal as PortalConfig, PortalLimits, Protocol, Service};
use crate::portal::desk::Site;
use kmsgate_core::name::ServiceName;
use kmsgate_core::permit::Terms;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn service(name: &str, port: u16) -> Service {
    Service {
        terms: Arc::new(Terms {
            service: ServiceName::new(name),
            window: Duration::from_secs(200),
            connections: 1,
            close_when_used: true,
            ipv6_prefix: 128,
        }),
        port,
        providers: vec!["10.0.0.2:1688".parse().unwrap()],
        protocol: Protocol::Msrpc,
        calls: Some(1),
        max_connection: None,
        max_bytes_in: None,
        health: Health::Off,
    }
}

pub(crate) fn site() -> Site {
    let portal = PortalConfig {
        listen: Vec::new(),
        public_url: None,
        tls: None,
        insecure_http: false,
        trusted_proxies: Vec::new(),
        languages: vec!["en".into(), "zh-TW".into()],
        title: "Campus activation".into(),
        limits: PortalLimits::default(),
    };
    Site::new(portal, vec![service("kms", 1688)], &[])
}
