use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use medcards_core::limit::{LimitDecision, LimitKey, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::time::Clock;
use medcards_core::{Result, UserId};

use crate::address::{TrustedProxies, network_of};
use crate::config::HttpConfig;
use crate::problem::{Problem, ProblemCode, name, seconds_up};

const RATE_LIMIT: HeaderName = name("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = name("ratelimit-policy");

/// Counts the calls of users and addresses against their quotas.
#[derive(Debug)]
pub(crate) struct Limits {
    limiter: Arc<dyn RateLimiter>,
    calls: Option<Policy>,
    guests: Option<Policy>,
    proxies: TrustedProxies,
    has_warned: AtomicBool,
}

/// A quota with the name under which clients hear of it.
#[derive(Debug)]
struct Policy {
    name: &'static str,
    quota: Quota,
    header: HeaderValue,
}

impl Policy {
    fn new(name: &'static str, quota: Quota) -> Self {
        let (limit, seconds) = (quota.limit(), quota.window().as_secs());
        // A name and two numbers are always a good header.
        let header = HeaderValue::try_from(format!("\"{name}\";q={limit};w={seconds}"))
            .unwrap_or(HeaderValue::from_static(""));
        Self {
            name,
            quota,
            header,
        }
    }
}

/// What a response says about the quota.
#[derive(Debug)]
pub(crate) struct Allowance {
    policy: HeaderValue,
    state: HeaderValue,
}

impl Allowance {
    fn new(policy: &Policy, decision: &LimitDecision) -> Self {
        let mut state = String::with_capacity(40);
        let (remaining, seconds) = (decision.remaining, seconds_up(decision.reset_after));
        // Writing to a string never fails, and a name and two numbers are always a good header.
        let _ = write!(state, "\"{}\";r={remaining};t={seconds}", policy.name);
        let state = HeaderValue::try_from(state).unwrap_or(HeaderValue::from_static(""));
        Self {
            policy: policy.header.clone(),
            state,
        }
    }

    /// Adds the `RateLimit` headers, unless the response tells of a quota already.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        if !headers.contains_key(RATE_LIMIT) {
            headers.insert(RATE_LIMIT_POLICY, self.policy);
            headers.insert(RATE_LIMIT, self.state);
        }
    }
}

/// A call that is over its quota.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) allowance: Allowance,
}

impl Limits {
    pub(crate) fn new(config: &HttpConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let limiter = match &config.limiter {
            Some(limiter) => Arc::clone(limiter),
            None => Arc::new(MemoryRateLimiter::new(clock)),
        };
        let calls = config.quota.map(|quota| Policy::new("default", quota));
        let guests = config
            .quota
            .map(|_| Policy::new("guest", config.guest_quota));
        let proxies = TrustedProxies::parse(&config.trusted_proxies)?;
        Ok(Self {
            limiter,
            calls,
            guests,
            proxies,
            has_warned: AtomicBool::new(false),
        })
    }

    /// Counts a call: a user's, or that of an address without a token.
    pub(crate) async fn check_call(
        &self,
        user_id: Option<UserId>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Allowance>, Refusal> {
        let Some(policy) = &self.calls else {
            return Ok(None);
        };
        let key = match user_id {
            Some(user_id) => Some(LimitKey::new("user", user_id)),
            None => self
                .client(headers, extensions)
                .map(|client| LimitKey::new("address", client)),
        };
        self.check(policy, key).await
    }

    /// Counts the making of a guest.
    pub(crate) async fn check_guest(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Allowance>, Refusal> {
        let Some(policy) = &self.guests else {
            return Ok(None);
        };
        let client = self.client(headers, extensions);
        self.check(policy, client.map(|client| LimitKey::new("guest", client)))
            .await
    }

    fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let client = self.proxies.client(headers, extensions);
        if client.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "addresses of clients are not known, so calls without a token are not limited; \
                 serve with into_make_service_with_connect_info::<SocketAddr>()"
            );
        }
        client.map(network_of)
    }

    async fn check(
        &self,
        policy: &Policy,
        key: Option<LimitKey>,
    ) -> Result<Option<Allowance>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        let decision = match self.limiter.check(&key, &policy.quota, 1).await {
            Ok(decision) => decision,
            Err(error) => {
                // A limiter that is away must not take the platform with it.
                tracing::warn!(%error, "calls are not limited for now");
                return Ok(None);
            }
        };
        let allowance = Allowance::new(policy, &decision);
        if decision.is_allowed {
            return Ok(Some(allowance));
        }
        let problem = Problem::new(ProblemCode::RateLimited)
            .with_detail(format!("{} calls are allowed", policy.quota))
            .with_retry_after(decision.retry_after);
        Err(Refusal { problem, allowance })
    }
}
