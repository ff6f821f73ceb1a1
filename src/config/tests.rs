use super::*;

fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
    let find = |name: &str| {
        let found = variables.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_variables(find).map_err(|error| error.to_string())
}

const ID: (&str, &str) = ("INTEGRATION_ID", "oac_1");
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn defaults_need_an_integration_id_alone() {
    let config = config(&[ID, ("TABLE_NAME", "")]).unwrap();
    assert_eq!(config.table_name, "teardown");
    assert_eq!(config.oidc_issuer, "https://marketplace.vercel.com");
    assert_eq!(config.oidc_jwks_url.as_str(), "https://marketplace.vercel.com/.well-known/jwks");
    assert_eq!(config.receipt_retention.as_secs(), 90 * 24 * 3600);
    assert_eq!(config.finalize_margin.as_secs(), 2 * 3600);
    assert_eq!(config.grace_period.as_secs(), 7 * 24 * 3600);
    assert_eq!(config.provisioning_limit.as_secs(), 3600);
    assert_eq!(config.open_invoices, OpenInvoices::Accept);
    assert_eq!(config.vercel_api_url.as_str(), "https://api.vercel.com/");
    assert!(config.provider.is_none() && config.oidc_jwks.is_none());
    assert_eq!(config.require_cron_secret().unwrap_err().to_string(), "CRON_SECRET: is required");
    let without = config.require_client_secret().unwrap_err();
    assert_eq!(without.to_string(), "CLIENT_SECRET: is required");
}

/// A3: `INTEGRATION_ID` has one id, or several with commas and blanks between them. If an id is empty or
/// malformed, the function does not start.
#[test]
fn an_integration_may_have_several_ids() {
    let ids = |text| config(&[("INTEGRATION_ID", text)]).map(|it| it.integration_ids);
    for text in ["oac_1,oac_2", "oac_1, oac_2", "oac_1 \t, oac_2"] {
        let ids = ids(text).unwrap();
        assert_eq!(ids.first(), "oac_1", "{text}");
        assert!(ids.contains("oac_1") && ids.contains("oac_2"), "{text}");
        for other in ["", "oac_", "oac_1,oac_2", " oac_2", "oac_22"] {
            assert!(!ids.contains(other), "{text}: {other}");
        }
    }
    for text in [",", "oac_1,", ",oac_1", "oac_1,,oac_2", "oac_1, ,oac_2", "oac_1 oac_2"] {
        let error = ids(text).unwrap_err();
        assert!(error.starts_with("INTEGRATION_ID: an id is 1 to 255 of"), "{text}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (variable, value, message) in [
        ("INTEGRATION_ID", "", "INTEGRATION_ID: is required"),
        (
            "INTEGRATION_ID",
            "oac 1",
            "INTEGRATION_ID: an id is 1 to 255 of A-Z a-z 0-9 . _ : ~ - and not . or ..",
        ),
        ("OIDC_ISSUER", "marketplace.vercel.com", "OIDC_ISSUER: is not a URL"),
        ("TABLE_NAME", "a/b", "TABLE_NAME: is not 3 to 255 of A-Z a-z 0-9 _ . -"),
        ("OIDC_JWKS_URL", "nonsense", "OIDC_JWKS_URL: is not a URL"),
        (
            "OIDC_JWKS_URL",
            "http://example.com/k",
            "OIDC_JWKS_URL: must be https, or http on loopback",
        ),
        ("OIDC_JWKS", "{}", "OIDC_JWKS: not a JWKS document"),
        ("OIDC_JWKS", r#"{"keys":[]}"#, "OIDC_JWKS: the JWKS document has no usable key"),
        ("VERCEL_API_URL", "api.vercel.com", "VERCEL_API_URL: is not a URL"),
        ("CRON_SECRET", "two words", "CRON_SECRET: must be visible ASCII characters"),
        (
            "PROVIDER_URL",
            "https://provider.example",
            "PROVIDER_SECRET: is required, because PROVIDER_URL is set",
        ),
        ("PROVIDER_SECRET", WHSEC, "PROVIDER_URL: is required, because PROVIDER_SECRET is set"),
        (
            "AWS_ROLE_ARN",
            "arn:aws:iam::1:user/me",
            "AWS_ROLE_ARN: is not arn:<partition>:iam::<account>:role/…",
        ),
        ("SUPPORT_URL", "ftp://x", "SUPPORT_URL: must be https, or http on loopback"),
        ("RECEIPT_RETENTION", "soon", "RECEIPT_RETENTION: is no time such as 90d or 36h"),
        ("RECEIPT_RETENTION", "0s", "RECEIPT_RETENTION: must be 1 second to 100 years"),
        ("FINALIZE_MARGIN", "24h", "FINALIZE_MARGIN: must be under 24h"),
        ("PROVISIONING_LIMIT", "soon", "PROVISIONING_LIMIT: is no time such as 1h or 30m"),
        ("PROVISIONING_LIMIT", "500ms", "PROVISIONING_LIMIT: must be in whole seconds"),
        (
            "UNINSTALL_WITH_OPEN_INVOICES",
            "REFUSE",
            "UNINSTALL_WITH_OPEN_INVOICES: is neither accept nor refuse",
        ),
        ("GRACE_PERIOD", "soon", "GRACE_PERIOD: is no time such as 7d or 36h"),
        ("GRACE_PERIOD", "91d", "GRACE_PERIOD: must be 0s to 90d, in whole seconds"),
        ("GRACE_PERIOD", "1ms", "GRACE_PERIOD: must be 0s to 90d, in whole seconds"),
    ] {
        assert_eq!(config(&[ID, (variable, value)]).unwrap_err(), message);
    }
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/path/teardown");
    assert_eq!(config(&[ID, role]).unwrap().role.unwrap().session_name, "teardown");
    assert_eq!(
        config(&[ID, role, ("AWS_ROLE_SESSION_NAME", "two words")]).unwrap_err(),
        "AWS_ROLE_SESSION_NAME: is not 2 to 64 of A-Z a-z 0-9 _ + = , . @ -"
    );
    let short = [ID, ("PROVIDER_URL", "https://p.example"), ("PROVIDER_SECRET", "whsec_c2hvcnQ=")];
    assert_eq!(
        config(&short).unwrap_err(),
        "PROVIDER_SECRET: must be whsec_ and the base64 of 24 to 64 bytes"
    );
}

/// G1: `PROVIDER_SECRET` may contain several secrets with spaces between them, and their order is kept. If a
/// secret is malformed, the function does not start.
#[test]
fn several_secrets_may_sign() {
    const OLDER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let secrets = |text: &str| {
        let variables = [ID, ("PROVIDER_URL", "https://p.example"), ("PROVIDER_SECRET", text)];
        config(&variables).map(|config| config.provider.unwrap().secrets)
    };
    let kept = |text: &str| {
        let secrets = secrets(text).unwrap();
        secrets.iter().map(|it| it.expose().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kept(WHSEC), [WHSEC]);
    for spaces in [" ", "   "] {
        assert_eq!(kept(&format!("{WHSEC}{spaces}{OLDER}")), [WHSEC, OLDER]);
        assert_eq!(kept(&format!("{OLDER}{spaces}{WHSEC}{spaces}{OLDER}")).len(), 3);
    }
    for wrong in ["whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "none"] {
        for text in [format!("{WHSEC} {wrong}"), format!("{wrong} {WHSEC}")] {
            let message = "PROVIDER_SECRET: must be whsec_ and the base64 of 24 to 64 bytes";
            assert_eq!(secrets(&text).unwrap_err(), message, "{text}");
        }
    }
    for separator in [",", "\t", "\n", ", "] {
        assert!(secrets(&format!("{WHSEC}{separator}{OLDER}")).is_err(), "{separator:?}");
    }
    let stray = secrets(&format!("{WHSEC} {OLDER} ")).unwrap_err();
    assert_eq!(stray, "PROVIDER_SECRET: has a blank or a line break at an end");
}

/// S1: if a variable's value begins or ends with a blank or a line break, the function does not start.
/// teardown neither removes such a blank or line break, nor uses it as part of the value.
#[test]
fn a_stray_line_break_is_named() {
    for (name, value) in [
        ("INTEGRATION_ID", "oac_1"),
        ("TABLE_NAME", "teardown"),
        ("OIDC_ISSUER", "https://issuer.example"),
        ("OIDC_JWKS_URL", "https://issuer.example/jwks"),
        ("OIDC_JWKS", "{}"),
        ("VERCEL_API_URL", "https://api.example"),
        ("PROVIDER_URL", "https://p.example"),
        ("PROVIDER_SECRET", WHSEC),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/teardown"),
        ("AWS_ROLE_SESSION_NAME", "teardown"),
        ("CRON_SECRET", "cr0n"),
        ("CLIENT_SECRET", "cl1ent"),
        ("SUPPORT_URL", "https://s.example"),
        ("GRACE_PERIOD", "7d"),
        ("PROVISIONING_LIMIT", "1h"),
        ("UNINSTALL_WITH_OPEN_INVOICES", "refuse"),
        ("RECEIPT_RETENTION", "90d"),
        ("FINALIZE_MARGIN", "2h"),
    ] {
        for stray in [format!("{value}\n"), format!(" {value}"), format!("{value}\r\n")] {
            let message = format!("{name}: has a blank or a line break at an end");
            assert_eq!(config(&[ID, (name, &stray)]).unwrap_err(), message);
        }
    }
}

#[test]
fn loopback_may_be_http_and_secrets_stay_hidden() {
    for url in ["http://127.0.0.1:3000/k", "http://localhost/k", "http://[::1]:1/k"] {
        assert!(config(&[ID, ("OIDC_JWKS_URL", url)]).is_ok(), "{url}");
    }
    let config = config(&[
        ID,
        ("PROVIDER_URL", "https://p.example"),
        ("PROVIDER_SECRET", WHSEC),
        ("CRON_SECRET", "cr0n"),
        ("CLIENT_SECRET", "cl1ent"),
    ]);
    let shown = format!("{config:?}");
    assert!(shown.contains("[secret]"), "{shown}");
    assert!(!["MfKQ9r8", "cr0n", "cl1ent"].iter().any(|it| shown.contains(it)), "{shown}");
}
