mod rules;

pub(crate) use rules::described;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use medcards_core::limit::{LimitDecision, LimitKey, LimitedCall, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::time::Clock;
use medcards_core::{Result, UserId};

use self::rules::{Class, Rules};
use crate::address::{TrustedProxies, network_of};
use crate::config::HttpConfig;
use crate::problem::{Problem, ProblemCode, name, seconds_up};

const RATE_LIMIT: HeaderName = name("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = name("ratelimit-policy");

/// Counts the calls of users and addresses against their quotas.
#[derive(Debug)]
pub(crate) struct Limits {
    limiter: Arc<dyn RateLimiter>,
    client: Option<Policy>,
    login: Option<Policy>,
    ai: Option<Policy>,
    chat: Option<Policy>,
    rules: Rules,
    address: Option<Policy>,
    proxies: TrustedProxies,
    has_warned: AtomicBool,
}

/// A quota with the name under which clients hear of it.
#[derive(Debug)]
struct Policy {
    name: Box<str>,
    quota: Quota,
    header: HeaderValue,
}

impl Policy {
    fn new(name: &str, quota: Quota) -> Self {
        let (limit, seconds) = (quota.limit(), quota.window().as_secs());
        Self {
            name: name.into(),
            quota,
            header: header(format!("\"{name}\";q={limit};w={seconds}")),
        }
    }
}

/// Names of ours and numbers are always a good header.
fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// What a response says about the quotas.
#[derive(Debug)]
pub(crate) struct Allowance {
    policy: HeaderValue,
    state: HeaderValue,
}

impl Allowance {
    fn new(policies: &[&Policy], decisions: &[LimitDecision]) -> Self {
        let mut state = String::with_capacity(40 * policies.len());
        for (policy, decision) in policies.iter().zip(decisions) {
            let comma = if state.is_empty() { "" } else { ", " };
            let (remaining, seconds) = (decision.remaining, seconds_up(decision.reset_after));
            // Writing to a string never fails.
            let _ = write!(
                state,
                "{comma}\"{}\";r={remaining};t={seconds}",
                policy.name
            );
        }
        let policy = match policies {
            [only] => only.header.clone(),
            several => {
                let headers = several
                    .iter()
                    .filter_map(|policy| policy.header.to_str().ok());
                header(headers.collect::<Vec<_>>().join(", "))
            }
        };
        Self {
            policy,
            state: header(state),
        }
    }

    /// Adds the `RateLimit` headers.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(RATE_LIMIT_POLICY, self.policy);
        headers.insert(RATE_LIMIT, self.state);
    }
}

/// A call that is over a quota.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) allowance: Allowance,
}

/// The quotas against which a call counts, in the order in which the client hears of them.
#[derive(Debug, Default)]
pub(crate) struct Claim<'a> {
    policies: Vec<&'a Policy>,
    calls: Vec<LimitedCall>,
}

impl<'a> Claim<'a> {
    /// Counts against a quota too, if there is one and it is known whose it is.
    fn add(&mut self, policy: Option<&'a Policy>, key: Option<LimitKey>, cost: u32) {
        if let (Some(policy), Some(key)) = (policy, key) {
            self.policies.push(policy);
            self.calls.push(LimitedCall {
                key,
                quota: policy.quota,
                // Dearer than all of a quota, it could never go on.
                cost: cost.min(policy.quota.limit()),
            });
        }
    }
}

impl Limits {
    /// Takes the quotas that are configured, of which those of routes must be of one of `routes`.
    pub(crate) fn new(
        config: &HttpConfig,
        routes: &[String],
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let limiter = match &config.limiter {
            Some(limiter) => Arc::clone(limiter),
            None => Arc::new(MemoryRateLimiter::new(clock)),
        };
        let class = |class: Class, set: Option<Option<Quota>>| {
            let unset = || config.quota.map(|_| class.quota_default());
            let quota = set.unwrap_or_else(unset);
            quota.map(|quota| Policy::new(class.name(), quota))
        };
        Ok(Self {
            limiter,
            client: config.quota.map(|quota| Policy::new("client", quota)),
            login: class(Class::Login, config.login_quota),
            ai: class(Class::Ai, config.ai_quota),
            chat: class(Class::Chat, config.chat_quota),
            rules: Rules::new(config, routes)?,
            address: config
                .address_quota
                .map(|quota| Policy::new("address", quota)),
            proxies: TrustedProxies::parse(&config.trusted_proxies)?,
            has_warned: AtomicBool::new(false),
        })
    }

    /// Finds out against which quotas a call counts: a user's, or that of an address without a
    /// token.
    ///
    /// Keys of one call have the same name wherever they can, so that a limiter of many servers
    /// counts them at once; their scopes tell them apart.
    pub(crate) fn claim(&self, request: &Request, user_id: Option<UserId>) -> Claim<'_> {
        let mut claim = Claim::default();
        let matched = request.extensions().get::<MatchedPath>();
        let rule = matched.and_then(|matched| self.rules.find(request.method(), matched.as_str()));
        let cost = rule.map_or(1, |rule| rule.cost_of(request.uri()));
        let class = rule.and_then(|rule| rule.class);

        let is_by_address = user_id.is_none() || class == Some(Class::Login);
        let network = if is_by_address || self.address.is_some() {
            self.network(request.headers(), request.extensions())
        } else {
            None
        };
        let of_network = |scope: &str| network.map(|network| LimitKey::new(scope, network));
        let of_client = |scope: &str| match user_id {
            Some(user_id) => Some(LimitKey::new(scope, user_id)),
            None => of_network(scope),
        };

        let scope = if user_id.is_some() { "user" } else { "address" };
        claim.add(self.client.as_ref(), of_client(scope), cost);
        if let Some(rule) = rule {
            match class {
                Some(Class::Login) => claim.add(self.login.as_ref(), of_network("login"), 1),
                Some(Class::Ai) => claim.add(self.ai.as_ref(), of_client("ai"), 1),
                Some(Class::Chat) => claim.add(self.chat.as_ref(), of_client("chat"), 1),
                None => {}
            }
            if let Some(policy) = &rule.quota {
                claim.add(Some(policy), of_client(&policy.name), 1);
            }
        }
        claim.add(self.address.as_ref(), of_network("network"), cost);
        claim
    }

    /// Counts a call, once, against all of its quotas or none.
    pub(crate) async fn check(&self, claim: Claim<'_>) -> Result<Option<Allowance>, Refusal> {
        let Claim { policies, calls } = claim;
        if calls.is_empty() {
            return Ok(None);
        }
        let decisions = match self.limiter.check_all(&calls).await {
            Ok(decisions) => decisions,
            Err(error) => {
                // A limiter that is away must not take the platform with it.
                tracing::warn!(%error, "calls are not limited for now");
                return Ok(None);
            }
        };
        let allowance = Allowance::new(&policies, &decisions);
        match refusal(&policies, &decisions) {
            None => Ok(Some(allowance)),
            Some(problem) => Err(Refusal { problem, allowance }),
        }
    }

    /// The network of the client, if it is known.
    pub(crate) fn network(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let client = self.proxies.client(headers, extensions);
        if client.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "addresses of clients are not known, so calls without a token are not limited; \
                 serve with into_make_service_with_connect_info::<SocketAddr>()"
            );
        }
        client.map(network_of)
    }
}

/// The problem that names each quota which is used up, if one is.
fn refusal(policies: &[&Policy], decisions: &[LimitDecision]) -> Option<Problem> {
    let mut detail = String::new();
    let mut violated = Vec::new();
    let mut wait = Duration::ZERO;
    for (policy, decision) in policies.iter().zip(decisions) {
        if !decision.is_allowed {
            let and = if violated.is_empty() { "" } else { ", " };
            let _ = write!(detail, "{and}`{}` allows {}", policy.name, policy.quota);
            violated.push(policy.name.to_string());
            wait = wait.max(decision.retry_after);
        }
    }
    (!violated.is_empty()).then(|| {
        Problem::new(ProblemCode::RateLimited)
            .with_detail(detail)
            .with_violated_policies(violated)
            .with_retry_after(wait)
    })
}
