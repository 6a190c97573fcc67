use axum::http::{HeaderMap, HeaderValue, header};

/// Whose pages may open a WebSocket, which browsers let any page try.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// As the configuration has them; `*` means any.
    allowed: Vec<String>,
}

impl Origins {
    pub(crate) fn new(allowed: &[String]) -> Self {
        Self {
            allowed: allowed.to_vec(),
        }
    }

    /// Whether a request may come: from no page at all, from one of this server's own, or of an origin
    /// that may call the API.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        let Some(origin) = origin.to_str().ok().filter(|_| origins.next().is_none()) else {
            return false;
        };
        let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
        let host = headers.get(header::HOST).map(HeaderValue::to_str);
        let is_own = match host {
            Some(Ok(host)) => is_of(origin, host),
            _ => false,
        };
        is_own || self.allowed.iter().any(is_allowed)
    }
}

/// Whether an origin is that of a host, whose port may be left out if it is that of the scheme.
fn is_of(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority: &str| {
        let authority = authority.strip_suffix(port).unwrap_or(authority);
        authority.to_ascii_lowercase()
    };
    !authority.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_server_and_of_allowed_origins_may_come() {
        let own = [(header::HOST, "App.example.org:8080")];
        let on_default_port = [(header::HOST, "app.example.org")];
        let listed = ["https://other.example.org".to_owned()];
        for (host, origin, allowed, is_allowed) in [
            (&own, None, &[][..], true),
            (&own, Some("http://app.example.org:8080"), &[], true),
            (&own, Some("https://app.example.org:8080"), &[], true),
            (&own, Some("http://app.example.org"), &[], false),
            (&own, Some("http://app.example.org:8081"), &[], false),
            (&own, Some("ftp://app.example.org:8080"), &[], false),
            (&own, Some("app.example.org:8080"), &[], false),
            (&own, Some("null"), &[], false),
            (&own, Some(""), &[], false),
            (&own, Some("http://"), &[], false),
            (
                &on_default_port,
                Some("http://app.example.org:80"),
                &[],
                true,
            ),
            (&on_default_port, Some("https://app.example.org"), &[], true),
            (
                &on_default_port,
                Some("https://app.example.org:80"),
                &[],
                false,
            ),
            (&own, Some("https://other.example.org"), &listed, true),
            (&own, Some("HTTPS://Other.example.org"), &listed, true),
            (&own, Some("http://other.example.org"), &listed, false),
            (&own, Some("null"), &["*".to_owned()], true),
        ] {
            let origin = origin.map(|origin| (header::ORIGIN, origin));
            let headers = host.iter().cloned().chain(origin);
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            let headers = HeaderMap::from_iter(headers);
            let origins = Origins::new(allowed);
            assert_eq!(
                origins.allow(&headers),
                is_allowed,
                "{headers:?} {allowed:?}"
            );
        }
    }
}
