use serde_json::Value;

use super::token::Claims;

const ADMIN: &str = "admin";
const PREMIUM: &str = "premium";
const REVIEWER: &str = "reviewer";

/// What a caller may do beyond what every user may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) is_admin: bool,
    /// May use the part of the spend budget that is kept for such users.
    pub(super) is_premium: bool,
    /// May say what becomes of written feedback. Administrators may too.
    pub(super) is_reviewer: bool,
}

impl Roles {
    /// The roles that the issuer gave: as `role`, in `roles`, or in either of `app_metadata`. Who
    /// has the plan `premium` in `app_metadata` has that role too.
    ///
    /// Never from `user_metadata`, which users write themselves.
    pub(super) fn of(claims: &Claims) -> Self {
        let is_admin = has(claims, ADMIN);
        Self {
            is_admin,
            is_premium: has(claims, PREMIUM) || *metadata(claims, "plan") == PREMIUM,
            is_reviewer: is_admin || has(claims, REVIEWER),
        }
    }
}

fn has(claims: &Claims, role: &str) -> bool {
    let lists = |roles: &Value| {
        let roles = roles.as_array();
        roles.is_some_and(|roles| roles.iter().any(|one| one == role))
    };
    claims.role == role
        || lists(&claims.roles)
        || *metadata(claims, "role") == role
        || lists(metadata(claims, "roles"))
}

fn metadata<'a>(claims: &'a Claims, name: &str) -> &'a Value {
    claims.app_metadata.get(name).unwrap_or(&Value::Null)
}
