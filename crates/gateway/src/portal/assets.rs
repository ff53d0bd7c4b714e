//! Style, script and icon: ours, embedded, no third party's.

use crate::portal::Portal;
use axum::Router;
use axum::extract::Query;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// One of them.
pub(crate) struct Asset {
    path: &'static str,
    media: &'static str,
    content: &'static str,
    version: LazyLock<String>,
}

macro_rules! asset {
    ($(#[$doc:meta])* $name:ident, $file:literal, $media:literal) => {
        $(#[$doc])*
        pub(crate) static $name: Asset = Asset {
            path: concat!("/assets/", $file),
            media: $media,
            content: include_str!(concat!("../../assets/", $file)),
            version: LazyLock::new(|| version(include_str!(concat!("../../assets/", $file)))),
        };
    };
}

asset!(STYLE, "kmsgate.css", "text/css; charset=utf-8");
asset!(SCRIPT, "kmsgate.js", "text/javascript; charset=utf-8");
asset!(ICON, "kmsgate.svg", "image/svg+xml");

impl Asset {
    /// Its address; another one for another content, so that it may be kept for ever.
    pub(crate) fn address(&self) -> String {
        format!("{}?v={}", self.path, *self.version)
    }

    fn answer(&self, asked: Option<&String>) -> Response {
        let keep = if asked == Some(&*self.version) { "public, max-age=31536000, immutable" } else { "no-cache" };
        ([(CONTENT_TYPE, self.media), (CACHE_CONTROL, keep)], self.content).into_response()
    }
}

fn version(content: &str) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(content.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest).chars().take(12).collect()
}

pub(crate) fn routes() -> Router<Arc<Portal>> {
    [&STYLE, &SCRIPT, &ICON].into_iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async |query: Query<HashMap<String, String>>| asset.answer(query.get("v"))))
    })
}
