use serde_json::Value;

use super::token::Claims;

const ADMIN: &str = "admin";

const REVIEWER: &str = "reviewer";

/// What a caller may do beyond what every user may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) is_admin: bool,
    /// May say what becomes of written feedback. Administrators may too.
    pub(super) is_reviewer: bool,
}

impl Roles {
    /// The roles that the issuer gave: as `role`, in `roles`, or in either of `app_metadata`.
    ///
    /// Never from `user_metadata`, which users write themselves.
    pub(super) fn of(claims: &Claims) -> Self {
        let is_admin = has(claims, ADMIN);
        Self {
            is_admin,
            is_reviewer: is_admin || has(claims, REVIEWER),
        }
    }
}

fn has(claims: &Claims, role: &str) -> bool {
    let metadata = |name| claims.app_metadata.get(name).unwrap_or(&Value::Null);
    let lists = |roles: &Value| {
        roles
            .as_array()
            .is_some_and(|roles| roles.iter().any(|one| one == role))
    };
    claims.role == role
        || lists(&claims.roles)
        || *metadata("role") == role
        || lists(metadata("roles"))
}
