use std::collections::HashMap;

use axum::http::{Method, Uri};
use medcards_core::limit::Quota;
use medcards_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode;

use super::Policy;
use crate::config::HttpConfig;

/// A kind of call that has a quota of its own besides that of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Makes a model write.
    Ai,
    /// Talks with a model.
    Chat,
    /// Begins a session. Counted by address, because the caller is nobody yet.
    Login,
}

impl Class {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ai => "ai",
            Self::Chat => "chat",
            Self::Login => "login",
        }
    }

    /// What is allowed unless somebody says otherwise.
    pub(super) fn quota_default(self) -> Quota {
        match self {
            Self::Ai => HttpConfig::AI_QUOTA_DEFAULT,
            Self::Chat => HttpConfig::CHAT_QUOTA_DEFAULT,
            Self::Login => HttpConfig::LOGIN_QUOTA_DEFAULT,
        }
    }
}

/// How the calls of a route count.
#[derive(Clone, Copy, Debug)]
struct RouteRule {
    /// The method and the path, as the description of the API has it.
    route: &'static str,
    /// What a call costs.
    cost: u32,
    /// What it costs with the parameter `q`.
    search_cost: u32,
    class: Option<Class>,
}

/// What counts otherwise than as one call of the client.
const RULES: &[RouteRule] = &[
    // Most feedback comes from a cache, and who asks cannot know: dearer, it would punish reading.
    rule("GET /v1/answers/{id}/feedback", 1, Some(Class::Ai)),
    RouteRule {
        // Words are looked for in all cases and ranked.
        search_cost: 3,
        ..rule("GET /v1/cases", 1, None)
    },
    // Up to hundreds of megabytes are read, checked and written.
    rule("POST /v1/admin/cases", 10, None),
    rule("POST /v1/chat", 1, Some(Class::Chat)),
    rule("POST /v1/guest", 1, Some(Class::Login)),
    rule("POST /v1/sessions", 1, Some(Class::Login)),
];

const fn rule(route: &'static str, cost: u32, class: Option<Class>) -> RouteRule {
    RouteRule {
        route,
        cost,
        search_cost: cost,
        class,
    }
}

/// The rules with what the operator made of them, by path and method.
#[derive(Debug, Default)]
pub(super) struct Rules(HashMap<String, Vec<(Method, Rule)>>);

/// See [`RouteRule`].
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) cost: u32,
    pub(super) search_cost: u32,
    pub(super) class: Option<Class>,
    /// The quota of this route alone.
    pub(super) quota: Option<Policy>,
}

impl Rules {
    /// Takes the rules and what is configured, of which every route must be among `routes`.
    pub(super) fn new(config: &HttpConfig, routes: &[String]) -> Result<Self> {
        let mut rules = Self::default();
        for given in RULES {
            let rule = rules.of(given.route);
            rule.cost = given.cost;
            rule.search_cost = given.search_cost;
            rule.class = given.class;
        }
        for (route, cost) in &config.route_costs {
            let rule = rules.of(known(route, routes)?);
            rule.cost = *cost;
            rule.search_cost = *cost;
        }
        for (route, quota) in &config.route_quotas {
            let route = known(route, routes)?;
            rules.of(route).quota = Some(Policy::new(route, *quota));
        }
        Ok(rules)
    }

    /// The rule of a route, made if it is missing.
    fn of(&mut self, route: &str) -> &mut Rule {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let rules = self.0.entry(path.to_owned()).or_default();
        let place = rules.iter().position(|(known, _)| *known == method);
        let place = place.unwrap_or_else(|| {
            let rule = Rule {
                cost: 1,
                search_cost: 1,
                class: None,
                quota: None,
            };
            rules.push((method, rule));
            rules.len() - 1
        });
        &mut rules[place].1
    }

    /// The rule of the route that a request matched, if it has one.
    ///
    /// A program may mount the API beneath a path of its own, which stands before the route's.
    pub(super) fn find(&self, method: &Method, matched: &str) -> Option<&Rule> {
        let path = &matched[matched.rfind("/v1/")?..];
        // A HEAD is served, and costs, as the GET that it is.
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let rules = self.0.get(path)?;
        let rule = rules.iter().find(|(known, _)| known == method);
        rule.map(|(_, rule)| rule)
    }
}

impl Rule {
    pub(super) fn cost_of(&self, uri: &Uri) -> u32 {
        if self.search_cost != self.cost && searches(uri) {
            return self.search_cost;
        }
        self.cost
    }
}

/// Whether the query has the parameter `q`, in whatever way it is written.
fn searches(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut named = pairs.filter_map(|pair| pair.split_once('='));
    named.any(|(name, value)| !value.is_empty() && percent_decode(name.as_bytes()).eq(*b"q"))
}

fn known<'a>(route: &'a str, routes: &[String]) -> Result<&'a str> {
    if routes.iter().any(|known| known == route) {
        return Ok(route);
    }
    let context = format!(
        "there is no route `{route}` that is limited: it must be one of {}",
        routes.join(", ")
    );
    Err(Error::new(
        ErrorKind::Invalid,
        "read quotas of routes",
        context,
    ))
}

/// The rules of these routes, for people.
pub(crate) fn described(routes: &[String]) -> String {
    let mut text = "Each call of `/v1` counts against the quota `client`: that of the user, or of the \
                    address if there is no token. Some count against another quota besides, and some \
                    cost more than one. A response tells of each in `RateLimit` and \
                    `RateLimit-Policy`; one that is refused (429) counts against none.\n\n\
                    | route | costs | counts against |\n| --- | --- | --- |\n"
        .to_owned();
    let exists = |rule: &&RouteRule| routes.iter().any(|route| route == rule.route);
    for rule in RULES.iter().filter(exists) {
        let cost = if rule.search_cost == rule.cost {
            rule.cost.to_string()
        } else {
            format!("{}, with `q` {}", rule.cost, rule.search_cost)
        };
        let class = rule
            .class
            .map(|class| format!(", `{}`", class.name()))
            .unwrap_or_default();
        let route = rule.route;
        text.push_str(&format!("| `{route}` | {cost} | `client`{class} |\n"));
    }
    text.push_str("| all others | 1 | `client` |");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(configure: impl FnOnce(HttpConfig) -> HttpConfig) -> Result<Rules> {
        let routes = ["GET /v1/cases", "GET /v1/me", "PATCH /v1/me"].map(str::to_owned);
        Rules::new(&configure(HttpConfig::new()), &routes)
    }

    #[track_caller]
    fn check(rules: &Rules, request: &str, class: Option<Class>, cost: u32) {
        let (method, target) = request.split_once(' ').unwrap();
        let uri: Uri = target.parse().unwrap();
        let rule = rules.find(&method.parse().unwrap(), uri.path());
        let seen = rule.map_or((None, 1), |rule| (rule.class, rule.cost_of(&uri)));
        assert_eq!(seen, (class, cost), "{request}");
    }

    #[test]
    fn routes_have_their_class_and_cost() {
        let rules = rules(|config| config).unwrap();
        check(&rules, "GET /v1/answers/{id}/feedback", Some(Class::Ai), 1);
        check(&rules, "POST /v1/chat", Some(Class::Chat), 1);
        check(&rules, "POST /v1/guest", Some(Class::Login), 1);
        check(&rules, "POST /v1/sessions", Some(Class::Login), 1);
        check(&rules, "POST /v1/admin/cases", None, 10);
        check(&rules, "GET /v1/sessions", None, 1);
        check(&rules, "GET /v1/me", None, 1);
        check(&rules, "GET /v1/nothing", None, 1);
    }

    /// A route that is renamed must not lose its rule.
    #[test]
    fn every_rule_is_of_a_route_that_exists() {
        let routes = crate::routes::limited(&crate::routes::all().to_openapi());
        for rule in RULES {
            let exists = routes.iter().any(|route| route == rule.route);
            assert!(exists, "{}", rule.route);
        }
    }

    #[test]
    fn a_search_costs_more_however_it_is_written() {
        let rules = rules(|config| config).unwrap();
        check(&rules, "GET /v1/cases", None, 1);
        check(&rules, "GET /v1/cases?lang=en&limit=5", None, 1);
        check(&rules, "GET /v1/cases?q=", None, 1);
        for query in ["q=fever", "lang=en&q=fever", "%71=fever", "q=&q=fever"] {
            check(&rules, &format!("GET /v1/cases?{query}"), None, 3);
            check(&rules, &format!("HEAD /v1/cases?{query}"), None, 3);
            check(&rules, &format!("GET /api/v1/cases?{query}"), None, 3);
            check(&rules, &format!("GET /v1/me?{query}"), None, 1);
        }
    }

    #[test]
    fn an_operator_sets_the_cost_of_a_route() {
        let rules = rules(|config| config.with_route_cost("GET /v1/cases", 2)).unwrap();
        check(&rules, "GET /v1/cases", None, 2);
        check(&rules, "GET /v1/cases?q=fever", None, 2);
    }

    #[test]
    fn a_route_that_does_not_exist_is_refused_by_name() {
        let quota = Quota::DEFAULT;
        for route in [
            "GET /v1/casses",
            "POST /v1/me",
            "/v1/me",
            "get /v1/me",
            "GET /healthz",
            "",
        ] {
            for rules in [
                rules(|config| config.with_route_quota(route, quota)),
                rules(|config| config.with_route_cost(route, 1)),
            ] {
                let error = rules.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.context().contains(&format!("`{route}`")), "{error}");
                assert!(error.context().contains("GET /v1/cases"), "{error}");
            }
        }
    }
}
