//! The commands of the open grant's page as files to run: `/activate.cmd` and `/activate.ps1`. What must never happen here:
//! a character of the request's in a file that somebody runs as administrator.
//!
//! They name the gateway as the licence server and have the computer's own `slmgr.vbs` or `ospp.vbs` ask it, as Microsoft
//! documents them; there is no product key in them. One sign-in lets one connection in, so that a run activates one product.

use crate::config::Protocol;
use crate::portal::Portal;
use crate::portal::visitor::Visitor;
use axum::Router;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// For the command prompt; `@HOST@` and `@PORT@` are put in.
const CMD: &str = include_str!("../../assets/activate.cmd");
/// For PowerShell.
const PS1: &str = include_str!("../../assets/activate.ps1");

/// Both, as they are linked.
pub(crate) const NAMES: [&str; 2] = ["activate.cmd", "activate.ps1"];

type Who = Extension<Arc<Visitor>>;

pub(crate) fn routes() -> Router<Arc<Portal>> {
    Router::new()
        .route("/activate.cmd", get(async |Extension(visitor): Who| script(&visitor, "activate.cmd", CMD)))
        .route("/activate.ps1", get(async |Extension(visitor): Who| script(&visitor, "activate.ps1", PS1)))
}

fn script(visitor: &Visitor, name: &str, template: &str) -> Response {
    let services = &visitor.site.services;
    let Some(service) = services.iter().find(|service| service.protocol == Protocol::Msrpc) else {
        return (StatusCode::NOT_FOUND, "No service here activates Windows or Office.\n").into_response();
    };
    let Some(text) = filled(template, &visitor.gateway_host(), service.port) else {
        return (StatusCode::NOT_FOUND, "The address of the licence server cannot be put into a script.\n")
            .into_response();
    };
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=us-ascii".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, text).into_response()
}

/// With the lines' ends of Windows. None unless the host is a name or an address and nothing else.
fn filled(template: &str, host: &str, port: u16) -> Option<String> {
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    (plain && !host.is_empty())
        .then(|| template.replace("@HOST@", host).replace("@PORT@", &port.to_string()).replace('\n', "\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_the_gateway_and_are_ascii_with_the_ends_of_windows() {
        for template in [CMD, PS1] {
            let text = filled(template, "kms.example.org", 1688).unwrap();
            assert!(text.contains("kms.example.org") && text.contains("1688"), "{text}");
            assert!(!text.contains("@HOST@") && !text.contains("@PORT@"), "{text}");
            assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        }
    }

    #[test]
    fn p7_nothing_but_a_name_or_an_address_gets_into_a_script() {
        for host in ["", "a&calc", "a'b", "a\"b", "a b", "a\r\nb", "a%b%", "$(x)", "a`b", "愛"] {
            assert_eq!(filled(CMD, host, 1), None, "{host:?}");
        }
        for host in ["kms", "192.0.2.7", "[2001:db8::7]", "xn--4gq.example"] {
            assert!(filled(CMD, host, 1).is_some(), "{host}");
        }
    }
}
