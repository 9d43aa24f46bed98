//! The gate in front of every route: deny by default.
//!
//! A route can only be registered with a [`Rule`], and [`Routes`] puts the gate in front of it: it
//! takes the time, recognises the caller, checks the role, draws on the caller's budget, reads the
//! body within its limits, and gives remembered answers. Handlers that name their
//! [`Caller`] refuse whoever did not come this way. Calls over gRPC come in by the same
//! [`arrive`], [`admitted`] and [`whole`]; see `api::grpc`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use metrics::{Counter, Histogram};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::auth::{Access, Caller, Role, permit, unauthenticated};
use super::limits::{BODY_MAX, BODY_WITHIN, Class, STOP_MAX, STOP_WITHIN};
use super::page::{self, Faced};
use super::problem::{Answer, Code, Problem};
use super::{Api, idempotency, sessions, within};
use crate::domain::source::Source;
use crate::store::AskGuard;

/// Counts requests by route and class of status.
pub(super) const REQUESTS: &str = "stoppress_http_requests_total";
/// How long requests took, in seconds, by route.
pub(super) const SECONDS: &str = "stoppress_http_request_seconds";

/// The scheme's name in the API description.
pub(super) const SCHEME: &str = "api_key";

/// What a route takes as its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing.
    Nothing,
    /// JSON, read whole before the handler runs.
    Json,
    /// A stream that the handler reads.
    Stream,
    /// The form of a page, read whole before the handler runs.
    Form,
    /// The same, from somebody who has a second factor, where one is needed.
    GuardedForm,
    /// The same, from somebody who has just shown who they are.
    SureForm,
}

/// What holds for a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    access: Access,
    class: Class,
    takes: Takes,
}

impl Rule {
    /// Open to everybody, reads only.
    pub(super) const PUBLIC: Self =
        Self { access: Access::Public, class: Class::Read, takes: Takes::Nothing };

    /// Open to whoever has a signed link; the handler reads the link from the body, which it limits itself.
    pub(super) const LINK: Self = Self { access: Access::Public, class: Class::Write, takes: Takes::Stream };

    /// Reading.
    pub(super) const fn read(roles: &'static [Role]) -> Self {
        Self { access: Access::Roles(roles), class: Class::Read, takes: Takes::Nothing }
    }

    /// Changing something, with a JSON body or none.
    pub(super) const fn write(roles: &'static [Role]) -> Self {
        Self { access: Access::Roles(roles), class: Class::Write, takes: Takes::Json }
    }

    /// Changing something with a body that is streamed.
    pub(super) const fn stream(roles: &'static [Role]) -> Self {
        Self { access: Access::Roles(roles), class: Class::Write, takes: Takes::Stream }
    }

    /// Asking for a stop.
    pub(super) const fn stop(roles: &'static [Role]) -> Self {
        Self { access: Access::Roles(roles), class: Class::Stop, takes: Takes::Json }
    }

    /// A page, for people who have signed in.
    pub(super) const fn page(roles: &'static [Role]) -> Self {
        Self { access: Access::Session(roles), class: Class::Read, takes: Takes::Nothing }
    }

    /// The form of a page.
    pub(super) const fn form(roles: &'static [Role]) -> Self {
        Self { access: Access::Session(roles), class: Class::Write, takes: Takes::Form }
    }

    /// The form of a page for which a second factor may be needed: see `ops.second_factor` of the configuration.
    pub(super) const fn guarded_form(roles: &'static [Role]) -> Self {
        Self { access: Access::Session(roles), class: Class::Write, takes: Takes::GuardedForm }
    }

    /// The form of a page that does what cannot be taken back: who signed in a while ago shows the key again.
    /// It is a guarded one as well.
    pub(super) const fn sure_form(roles: &'static [Role]) -> Self {
        Self { access: Access::Session(roles), class: Class::Write, takes: Takes::SureForm }
    }

    /// The form of a page that asks for a stop.
    pub(super) const fn stop_form(roles: &'static [Role]) -> Self {
        Self { access: Access::Session(roles), class: Class::Stop, takes: Takes::Form }
    }

    /// Whether the handler reads the body itself, bit by bit.
    pub(super) fn streams(self) -> bool {
        self.takes == Takes::Stream
    }

    /// Whether everybody may use it, without a key.
    #[cfg(test)]
    pub(super) fn is_public(self) -> bool {
        matches!(self.access, Access::Public)
    }

    /// Whether a repeat under the same key gets the stored answer.
    pub(super) fn remembers(self) -> bool {
        self.takes == Takes::Json
    }
}

/// A request that has arrived: when, and what keeps hand-overs of later instants back until it is answered.
pub(super) struct Arrival {
    /// When its head arrived.
    pub(super) at: Timestamp,
    _asking: Option<AskGuard>,
}

/// Takes the time of a request, before anything of it is looked at.
pub(super) fn arrive(api: &Api, rule: Rule) -> Arrival {
    // First of all: from here on, no hand-over that begins later than this stop was asked goes
    // ahead of it. The body of a stop is short and must come soon, so this cannot take long.
    let asking = (rule.class == Class::Stop).then(|| api.store.asking(&*api.clock));
    let at = asking.as_ref().map_or_else(|| api.clock.now(), |asking| asking.at);
    Arrival { at, _asking: asking }
}

/// What a caller is recognised by: what it says, and where it comes from.
pub(super) fn who(request: &Request) -> (&HeaderMap, Option<Source>) {
    (request.headers(), request.extensions().get::<Source>().copied())
}

/// Recognises the caller, checks the role, and draws on the caller's budget. None where everybody may.
pub(super) fn admitted(
    api: &Api,
    rule: Rule,
    (headers, source): (&HeaderMap, Option<Source>),
    at: Timestamp,
) -> Answer<Option<Caller>> {
    let roles = match rule.access {
        Access::Roles(roles) => roles,
        Access::Public => return Ok(None),
        Access::Session(_) => return Err(unauthenticated()),
    };
    let tried = headers.contains_key(header::AUTHORIZATION);
    let who = api
        .keys
        .recognise(headers, at)
        .map_err(|problem| if tried { api.sources.failed(source, problem) } else { problem })?;
    permit(&who, roles)?;
    api.limits.take(&who.key, rule.class)?;
    Ok(Some(Caller::new(who, at)))
}

/// Reads a body within the limits of its rule; `frame` bytes around it do not count.
pub(super) async fn whole(body: Body, rule: Rule, frame: usize) -> Answer<Bytes> {
    let (most, limit) =
        if rule.class == Class::Stop { (STOP_MAX, STOP_WITHIN) } else { (BODY_MAX, BODY_WITHIN) };
    let too_large = || Problem::new(Code::TooLarge, format!("The body has more than {most} bytes."));
    if axum::body::HttpBody::size_hint(&body).lower() > (most + frame) as u64 {
        return Err(too_large());
    }
    let read = within(limit, Limited::new(body, most + frame).collect()).await?;
    let bytes = read.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            return too_large();
        }
        Problem::new(Code::Malformed, "The body broke off.")
    })?;
    Ok(bytes.to_bytes())
}

/// The body, read whole by the gate.
#[derive(Debug, Clone)]
pub(super) struct Whole(pub(super) Bytes);

struct Gate {
    api: Api,
    rule: Rule,
    route: String,
    took: Histogram,
    counts: [Counter; 6],
}

impl Gate {
    fn new(api: &Api, rule: Rule, route: String) -> Self {
        let took = metrics::histogram!(SECONDS, "route" => route.clone());
        let counts = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"]
            .map(|status| metrics::counter!(REQUESTS, "route" => route.clone(), "status" => status));
        Self { api: api.clone(), rule, route, took, counts }
    }

    /// Counts an answer.
    fn count(&self, response: &Response, at: Timestamp) {
        let class = usize::from(response.status().as_u16() / 100).saturating_sub(1).min(5);
        self.counts[class].increment(1);
        self.took.record((self.api.clock.now().duration_since(at)).as_secs_f64());
    }
}

/// A route, as it is registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its method.
    pub method: String,
    /// Its path, with the names of its parts in braces.
    pub path: String,
    /// Whether it is in the description of the API: pages are not.
    pub described: bool,
}

/// The routes, each with its rule. Without an [`Api`], only their description and their list.
pub(super) struct Routes<'a> {
    api: Option<&'a Api>,
    router: OpenApiRouter<Api>,
    listed: Vec<Listed>,
}

impl<'a> Routes<'a> {
    pub(super) fn new(api: Option<&'a Api>, document: utoipa::openapi::OpenApi) -> Self {
        Self { api, router: OpenApiRouter::with_openapi(document), listed: Vec::new() }
    }

    /// Adds one operation behind the gate.
    pub(super) fn add(mut self, rule: Rule, mut routes: UtoipaMethodRouter<Api>) -> Self {
        let mut name = String::new();
        for (path, item) in &mut routes.1.paths {
            let operations = [
                ("GET", &mut item.get),
                ("PUT", &mut item.put),
                ("POST", &mut item.post),
                ("DELETE", &mut item.delete),
                ("PATCH", &mut item.patch),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    describe(operation, rule, method == "POST");
                    name = format!("{method} {path}");
                    self.list(method, path, true);
                }
            }
        }
        if let Some(api) = self.api {
            let gate = Gate::new(api, rule, name);
            // Only what is registered: other methods of the path are answered by the fallback.
            routes.2 = routes.2.route_layer(from_fn_with_state(Arc::new(gate), pass));
        }
        Self { router: self.router.routes(routes), ..self }
    }

    /// Adds one method of a page behind the gate. Pages are for people: the description does not name them.
    pub(super) fn page(mut self, rule: Rule, method: &str, path: &str, handler: MethodRouter<Api>) -> Self {
        self.list(method, path, false);
        let Some(api) = self.api else { return self };
        let gate = Gate::new(api, rule, format!("{method} {path}"));
        let handler = handler.route_layer(from_fn_with_state(Arc::new(gate), face));
        Self { router: self.router.route(path, handler), ..self }
    }

    fn list(&mut self, method: &str, path: &str, described: bool) {
        self.listed.push(Listed { method: method.to_owned(), path: path.to_owned(), described });
    }

    pub(super) fn done(self) -> (OpenApiRouter<Api>, Vec<Listed>) {
        (self.router, self.listed)
    }
}

/// Adds to the description what the gate does for every route.
fn describe(operation: &mut Operation, rule: Rule, posts: bool) {
    let takes = |place: &ParameterIn| {
        let all = operation.parameters.iter().flatten();
        all.filter_map(|one| if let RefOr::T(one) = one { Some(&one.parameter_in) } else { None })
            .any(|one| one == place)
    };
    let (asks, names) = (takes(&ParameterIn::Query), takes(&ParameterIn::Path));
    let Access::Roles(roles) = rule.access else {
        operation.security = Some(vec![SecurityRequirement::default()]);
        return;
    };
    let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
    operation.extensions = Some(ExtensionsBuilder::new().add("x-scopes", words).build());
    let mut add = |status: &str, text: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(text).content("application/problem+json", content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    add("401", "`unauthenticated`: no key, or one that is unknown, expired or revoked.");
    add("403", "`forbidden`: the key's scope may not do this.");
    add("429", "`rate_limited`: come again after `Retry-After` seconds.");
    add("500", "`internal`");
    add("503", "`unavailable`: repeat the same request after `Retry-After` seconds.");
    if names {
        add("404", "`not_found`: there is no such object, or it is another's.");
    }
    if asks {
        add("422", "`invalid`: `errors` names every field.");
    }
    if rule.takes == Takes::Json {
        add("400", "`malformed`: not JSON, or a header that cannot be read.");
        add("408", "`too_slow`: the body did not come in time.");
        add("413", "`too_large`: more than 256 KiB (16 KiB for a stop).");
        add("415", "`media_type`: not JSON.");
        add("422", "`invalid`: `errors` names every field; `idempotency_key_reused`.");
    }
    if posts && rule.takes == Takes::Json {
        use utoipa::openapi::path::ParameterBuilder;
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let text = "1 to 255 printable ASCII characters, quoted or bare. The same key with the same request \
                    gives the stored answer, with `Idempotency-Replayed: true`, for 30 days.";
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(text))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).max_length(Some(257)).build()));
        operation.parameters.get_or_insert_default().push(RefOr::T(parameter.build()));
        add("409", "`idempotency_key_in_use`: the first request with this key is still running.");
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let arrival = arrive(&gate.api, gate.rule);
    let at = arrival.at;
    let mut arrival = Some(arrival);
    let response = match enter(&gate, request, next, at).await {
        Ok(response) => response,
        Err(problem) => {
            if problem.is_held_back() {
                // Who is kept waiting keeps nobody's hand-over back.
                drop(arrival.take());
                gate.api.sources.hold(&problem).await;
            }
            problem.into_response()
        }
    };
    gate.count(&response, at);
    drop(arrival);
    response
}

/// The gate of pages: what goes wrong is a page, and whoever has not signed in is sent to do so.
async fn face(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let arrival = arrive(&gate.api, gate.rule);
    let at = arrival.at;
    let asked = page::Asked::of(&request);
    let response = match face_in(&gate, request, next, at).await {
        Ok(response) => response,
        Err(problem) => asked.refused(Faced(problem)),
    };
    gate.count(&response, at);
    drop(arrival);
    response
}

async fn face_in(gate: &Gate, mut request: Request, next: Next, at: Timestamp) -> Answer<Response> {
    let Gate { api, rule, .. } = gate;
    if let Access::Session(roles) = rule.access {
        let caller = sessions::recognise(api, request.headers(), roles, at).await?;
        api.limits.take(&caller.key, rule.class)?;
        if matches!(rule.takes, Takes::Form | Takes::GuardedForm | Takes::SureForm) {
            let bytes = whole(std::mem::take(request.body_mut()), *rule, 0).await?;
            sessions::own_form(&caller, request.headers(), &bytes)?;
            let sure = rule.takes == Takes::SureForm;
            if (sure || rule.takes == Takes::GuardedForm)
                && let Some(says) = page::second_factor::missing(api, &caller, sure)
            {
                return Ok(says);
            }
            if sure {
                let (action, source) = (request.uri().path().to_owned(), who(&request).1);
                if let Some(asks) = page::confirm::unsure(api, &caller, &action, &bytes, source, at).await? {
                    return Ok(asks);
                }
            }
            request.extensions_mut().insert(Whole(bytes));
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

async fn enter(gate: &Gate, mut request: Request, next: Next, at: Timestamp) -> Result<Response, Problem> {
    let Gate { api, rule, .. } = gate;
    let Some(caller) = admitted(api, *rule, who(&request), at)? else {
        return Ok(next.run(request).await);
    };
    if rule.takes != Takes::Json {
        request.extensions_mut().insert(caller);
        return Ok(next.run(request).await);
    }
    let key = if request.method() == Method::POST { idempotency::key_of(request.headers())? } else { None };
    let bytes = whole(std::mem::take(request.body_mut()), *rule, 0).await?;
    if !bytes.is_empty() && !is_json(request.headers()) {
        return Err(Problem::new(Code::MediaType, "The Content-Type is not application/json."));
    }
    let Some(key) = key else {
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(Whole(bytes));
        return Ok(next.run(request).await);
    };
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let scope = format!("{} {}", caller.tenant, gate.route);
    let name = (scope, key, idempotency::fingerprint(path, &bytes));
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(Whole(bytes));
    let run = next.run(request);
    Ok(idempotency::once(&*api.store, &api.running, name, || api.clock.now(), run).await)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}
