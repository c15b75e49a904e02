//! What is answered. Nothing of a call comes back in it.

use axum::body::Body;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// The end of an installation: the page tells Bitrix24, inside of which it is shown, that nothing else is to be done.
const INSTALLED: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Installed</title><script src="https://api.bitrix24.com/api/v1/"></script></head>
<body>
<p>The application is installed.</p>
<script>BX24.init(function () { BX24.installFinish(); });</script>
</body>
</html>
"#;

/// An answer for programs.
pub fn text(status: StatusCode, line: &'static str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", Body::from(line))
}

/// The method is another one.
pub fn only_post() -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST is taken here\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// The page at the end of an installation.
pub fn installed() -> Response<Body> {
    answer(StatusCode::OK, "text/html; charset=utf-8", Body::from(INSTALLED))
}

/// The page of an installation that did not come about.
pub fn not_installed(status: StatusCode, why: &'static str) -> Response<Body> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Not installed</title></head>\n\
         <body>\n<p>The application could not be installed: {why}.</p>\n</body>\n</html>\n"
    );
    answer(status, "text/html; charset=utf-8", Body::from(page))
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
