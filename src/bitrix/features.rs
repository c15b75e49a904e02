//! What a portal can do: features of its plan, and the plan itself.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::{Access, Client},
    error::CallError,
    json,
    wire::scalar,
};

/// Whether reservations (`get` with `clear=0`) are possible (protocol reference section 2).
pub const RESERVATIONS: &str = "rest_offline_extended";
/// Whether queues of their own (`auth_connector`) are possible.
pub const CONNECTORS: &str = "rest_auth_connector";

/// What a portal says about the application and its plan. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppInfo {
    /// The application's code.
    pub code: Option<String>,
    /// The rights that were granted, e.g. `crm`.
    pub scope: Vec<String>,
    /// `F` free, `D` demo, `T` trial, `P` paid, `L` local, `S` subscription.
    pub status: Option<String>,
    /// Whether its installation is complete.
    pub installed: Option<bool>,
    /// Whether it is to be paid and is not.
    pub payment_expired: Option<bool>,
    /// The plan with its region, e.g. `de_enterprise`.
    pub license: Option<String>,
    /// The plan without its region.
    pub license_family: Option<String>,
}

impl AppInfo {
    /// Whether the plan has the higher request limit; false when in doubt.
    ///
    /// Plans of this kind have names that begin with `ent`, behind the region in the full name.
    pub fn enterprise(&self) -> bool {
        let plan = self.license.as_deref().and_then(|name| name.split_once('_')).map(|(_, plan)| plan);
        let names = self.license_family.as_deref().into_iter().chain(plan);
        names.into_iter().any(|name| name.to_ascii_lowercase().starts_with("ent"))
    }
}

impl Client {
    /// Whether a feature is available, e.g. [`RESERVATIONS`].
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn feature(&self, access: &Access, code: &str) -> Result<bool, CallError> {
        #[derive(Serialize)]
        #[serde(rename_all = "UPPERCASE")]
        struct Feature<'a> {
            code: &'a str,
        }
        let answered = self.call(access, "feature.get", None, &Feature { code }).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        feature(result.get()).ok_or_else(|| CallError::unknown("ODD_RESULT"))
    }

    /// What the portal says about the application; also the cheapest proof that a token is good.
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn app_info(&self, access: &Access) -> Result<AppInfo, CallError> {
        let answered = self.call(access, "app.info", None, &NoParameters {}).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        app_info(result.get()).ok_or_else(|| CallError::unknown("ODD_RESULT"))
    }

    /// Whether the token's user is an administrator: only an administrator's tokens open the portal's queues. Every user
    /// may ask that of himself, and it takes none of the application's rights.
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn is_admin(&self, access: &Access) -> Result<bool, CallError> {
        let answered = self.call(access, "profile", None, &NoParameters {}).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        administers(result.get()).ok_or_else(|| CallError::unknown("ODD_RESULT"))
    }
}

/// The parameters of a method that has none.
#[derive(Serialize)]
pub(super) struct NoParameters {}

fn feature(result: &str) -> Option<bool> {
    let value = match json::member(result, "value") {
        Some(_) => json::only_member(result, "value")?,
        None => result,
    };
    match value {
        "true" | "false" => Some(value == "true"),
        _ => scalar::text_or_number(value).map(|_| scalar::yes(value)),
    }
}

fn administers(result: &str) -> Option<bool> {
    match json::only_member(result, "ADMIN")? {
        value @ ("true" | "false") => Some(value == "true"),
        value => scalar::text_or_number(value).map(|_| scalar::yes(value)),
    }
}

fn app_info(result: &str) -> Option<AppInfo> {
    if !result.starts_with('{') {
        return None;
    }
    let text = |key| json::member(result, key).and_then(scalar::text_or_number).map(String::from);
    let flag = |key| json::member(result, key).map(scalar::yes);
    let scope = json::member(result, "SCOPE").map(json::children).into_iter().flatten();
    Some(AppInfo {
        code: text("CODE"),
        scope: scope.filter_map(|child| scalar::text(child.value)).map(String::from).collect(),
        status: text("STATUS"),
        installed: flag("INSTALLED"),
        payment_expired: flag("PAYMENT_EXPIRED"),
        license: text("LICENSE"),
        license_family: text("LICENSE_FAMILY"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_yes_or_no_in_many_words() {
        for (result, want) in [
            (r#"{"value":"Y"}"#, Some(true)),
            (r#"{"value":"N"}"#, Some(false)),
            (r#"{"value":true}"#, Some(true)),
            ("false", Some(false)),
            (r#"{"value":1}"#, Some(true)),
            ("[]", None),
            (r#"{"value":null}"#, None),
            (r#"{"value":"Y","value":"N"}"#, None),
        ] {
            assert_eq!(feature(result), want, "{result}");
        }
    }

    #[test]
    fn an_administrator_is_one_who_is_said_to_be_one() {
        for (result, want) in [
            (r#"{"ID":"1","ADMIN":true}"#, Some(true)),
            (r#"{"ADMIN":false}"#, Some(false)),
            (r#"{"ADMIN":"Y"}"#, Some(true)),
            (r#"{"ADMIN":"N"}"#, Some(false)),
            (r#"{"ID":"1"}"#, None),
            (r#"{"ADMIN":null}"#, None),
            (r#"{"ADMIN":false,"ADMIN":true}"#, None),
            ("[]", None),
        ] {
            assert_eq!(administers(result), want, "{result}");
        }
    }

    #[test]
    fn the_plan_is_read() {
        let info = app_info(r#"{"CODE":"local.1","STATUS":"L","INSTALLED":true,"PAYMENT_EXPIRED":"N","LICENSE":"de_enterprise","LICENSE_FAMILY":"enterprise","SCOPE":["crm"]}"#)
            .expect("info");
        assert!(info.enterprise());
        assert_eq!((info.installed, info.payment_expired), (Some(true), Some(false)));
        assert_eq!(info.scope, ["crm"]);
        assert!(!app_info("{}").expect("info").enterprise());
        assert_eq!(app_info("false"), None);
    }
}
