//! The HTTP surface: one file a noun, one attribute that routes and documents.

mod answers;
mod approvals;
mod batches;
mod board;
mod bulk;
mod calendars;
mod changes;
mod customer_links;
mod description;
mod downloads;
mod escalations;
mod events;
mod evidence;
mod extract;
mod extras;
mod keys;
mod lab_side;
mod labs;
mod links;
mod meta;
mod orders;
mod platforms;
mod promises;
mod receipts;
mod replace;
mod routes;
mod second_factors;
mod stops;
mod tasks;
mod webhook_log;
mod webhooks;

use axum::routing::{get, post};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::extract::{Page, Query, cursor, next, version_mismatch};
pub use self::lab_side::{By, ReportOutcome, StatusReport, StopReply, Word, take_answer, take_report};
pub(super) use self::labs::switch as switch_lab;
pub use self::promises::{Kept, keep_promises};
use super::auth::Role::{Lab, Ops, Platform};
pub use super::gate::Listed;
use super::gate::{Routes, Rule, SCHEME};
use super::page::customer;
use super::{Api, page};

/// The frame of the API description.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Stoppress",
        description = "Holds print orders until a lab's cutoff, hands them over once, and says truthfully \
            whether an order can still be stopped.\n\n\
            **Words.** An order of a *platform* waits in the *batch* of its *window* until the *cutoff*; then \
            a *transfer* carries it to the *lab*. A *stop* asks that it not be printed; a *verdict* says \
            what a stop would do now.\n\n\
            **Conventions.** Instants are RFC 3339 in UTC with up to microseconds; fields that end in `_local` \
            show the production region's clocks with the zone. Durations are written `30s`, `2m`, `24h`. \
            Unknown fields are refused by name. Errors are problem documents (RFC 9457) with a stable \
            `code`; see /problems. Lists are paged: pass `next` of an answer as `cursor`. Objects of \
            others answer 404, as if they were not there. Every `POST` takes an `Idempotency-Key`; \
            writes of orders and labs accept `If-Match` with an `ETag`. 429 and 503 carry `Retry-After` in \
            seconds. In paths, an order is named by its id or, with a platform's key, by `@` and the \
            platform's own reference, percent-encoded.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(
        crate::api::problem::Document,
        crate::domain::webhook::Message,
        crate::domain::downloads::Question
    )),
    tags(
        (name = "orders", description = "Admit, read and change orders"),
        (name = "stops", description = "Ask that an order not be printed"),
        (name = "labs", description = "Labs, their calendars and their batches"),
        (name = "lab", description = "The lab's own side"),
        (name = "registry", description = "Platforms and keys"),
        (name = "webhooks", description = "Endpoints that are told what happens, by the Standard Webhooks \
            specification: each message is a POST of a `WebhookMessage`, signed in `webhook-signature` over \
            `webhook-id`, `webhook-timestamp` and the body. Any 2xx within 15 seconds takes it; a redirect is a \
            failure. A message comes at least once, under the same `webhook-id` each time; those about one order come \
            in the order of `data.version`, each once the one before was taken or given up. What was under way when a \
            gateway ended by force comes again under its id, also after something newer about its order: pass over \
            ids that you have taken, and what remains is in order. What is not taken is \
            sent again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, later where `Retry-After` says \
            so, and at once when the endpoint is back. 410 switches the endpoint off, and so do five days in \
            which it was tried and took nothing; GET /v1/events has everything meanwhile."),
        (name = "downloads", description = "Downloads beside what is printed: the platform hosts them, and alone can \
            deactivate their links. A stop of an order, or one that names them, asks for that; nothing is told revoked \
            without the platform's word."),
        (name = "ops", description = "Escalations and events"),
        (name = "meta", description = "Description, health and metrics"),
    )
)]
struct Frame;

/// The description of the whole surface, as `OpenAPI` 3.1.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = routes(None).0.into_openapi();
    description::let_answers_have_more(&mut document);
    document
}

/// Every route of the HTTP surface, those of pages too: made from the same lines as the router.
#[must_use]
pub fn listing() -> Vec<Listed> {
    routes(None).1
}

pub(super) fn routes(api: Option<&Api>) -> (OpenApiRouter<Api>, Vec<Listed>) {
    let mut document = Frame::openapi();
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("`Authorization: Bearer sp_ID_SECRET`, as POST /v1/keys gave it.".to_owned());
    document.components.get_or_insert_default().add_security_scheme(SCHEME, SecurityScheme::Http(bearer));
    let own = &[Platform, Ops];
    let ops = &[Ops];
    let lab = &[Lab, Ops];
    let all = &[Platform, Lab, Ops];
    Routes::new(api, document)
        .add(Rule::write(own), routes!(orders::submit))
        .add(Rule::stream(own), routes!(bulk::submit))
        .add(Rule::read(own), routes!(orders::list))
        .add(Rule::read(own), routes!(orders::get))
        .add(Rule::read(own), routes!(orders::verdict))
        .add(Rule::read(own), routes!(orders::changelog))
        .add(Rule::read(own), routes!(routes::of_order))
        .add(Rule::read(own), routes!(evidence::get))
        .add(Rule::write(own), routes!(changes::pay))
        .add(Rule::write(own), routes!(changes::hold))
        .add(Rule::write(own), routes!(changes::release))
        .add(Rule::write(own), routes!(changes::review))
        .add(Rule::write(ops), routes!(changes::reinstate))
        .add(Rule::write(own), routes!(changes::patch))
        .add(Rule::write(own), routes!(replace::replace))
        .add(Rule::stop(own), routes!(stops::ask))
        .add(Rule::read(own), routes!(stops::get))
        .add(Rule::read(own), routes!(receipts::get))
        .add(Rule::read(own), routes!(stops::list))
        .add(Rule::read(own), routes!(approvals::list))
        .add(Rule::read(own), routes!(approvals::get))
        .add(Rule::write(own), routes!(approvals::approve))
        .add(Rule::write(own), routes!(approvals::decline))
        .add(Rule::write(own), routes!(downloads::report))
        .add(Rule::write(own), routes!(customer_links::create))
        .add(Rule::write(own), routes!(customer_links::revoke))
        .add(Rule::write(ops), routes!(customer_links::rotate))
        .add(Rule::read(all), routes!(labs::list))
        .add(Rule::read(all), routes!(labs::get))
        .add(Rule::write(ops), routes!(labs::put))
        .add(Rule::write(ops), routes!(labs::delete))
        .add(Rule::write(ops), routes!(labs::pause))
        .add(Rule::write(ops), routes!(labs::resume))
        .add(Rule::read(all), routes!(labs::cutoffs))
        .add(Rule::read(all), routes!(calendars::cutoffs_ics))
        .add(Rule::write(all), routes!(calendars::link))
        .add(Rule::write(lab), routes!(calendars::revoke))
        .page(Rule::PUBLIC, "GET", "/cal/{token}", get(calendars::subscribed))
        .add(Rule::read(ops), routes!(board::get))
        .add(Rule::read(ops), routes!(batches::list))
        .add(Rule::read(lab), routes!(batches::get))
        .add(Rule::write(ops), routes!(batches::release))
        .add(Rule::write(ops), routes!(batches::postpone))
        .add(Rule::read(lab), routes!(lab_side::stops))
        .add(Rule::write(lab), routes!(lab_side::answer_stop))
        .add(Rule::write(lab), routes!(lab_side::status))
        .add(Rule::read(lab), routes!(lab_side::batches))
        .add(Rule::read(ops), routes!(platforms::list))
        .add(Rule::read(own), routes!(platforms::get))
        .add(Rule::write(ops), routes!(platforms::put))
        .add(Rule::read(own), routes!(downloads::get))
        .add(Rule::write(own), routes!(downloads::put))
        .add(Rule::write(own), routes!(downloads::delete))
        .add(Rule::write(own), routes!(downloads::rotate))
        .add(Rule::read(ops), routes!(routes::list))
        .add(Rule::read(own), routes!(routes::get))
        .add(Rule::write(ops), routes!(routes::put))
        .add(Rule::write(ops), routes!(routes::delete))
        .add(Rule::write(own), routes!(routes::explain))
        .add(Rule::read(ops), routes!(keys::list))
        .add(Rule::write(ops), routes!(keys::create))
        .add(Rule::write(ops), routes!(keys::revoke))
        .add(Rule::write(ops), routes!(keys::link))
        .add(Rule::write(all), routes!(second_factors::start))
        .add(Rule::write(all), routes!(second_factors::confirm))
        .add(Rule::write(ops), routes!(second_factors::remove))
        .add(Rule::read(ops), routes!(escalations::list))
        .add(Rule::write(ops), routes!(escalations::resolve))
        .page(Rule::PUBLIC, "GET", "/assets/{name}", get(page::assets))
        .page(Rule::PUBLIC, "GET", "/sign-in", get(page::show))
        .page(Rule::LINK, "POST", "/sign-in", post(page::sign_in))
        .page(Rule::PUBLIC, "GET", "/sign-in/{token}", get(page::open))
        .page(Rule::LINK, "POST", "/sign-in/link", post(page::press))
        .page(Rule::form(all), "POST", "/sign-out", post(page::sign_out))
        .page(Rule::page(lab), "GET", "/lab", get(page::inbox::show))
        .page(Rule::page(lab), "GET", "/lab/live", get(page::inbox::live))
        .page(Rule::page(lab), "GET", "/lab/pictures/{stop}/{item}", get(page::pictures::picture))
        .page(Rule::form(lab), "POST", "/lab/stops/{stop}", post(page::inbox::answer))
        .add(Rule::read(own), routes!(webhooks::list))
        .add(Rule::write(own), routes!(webhooks::create))
        .add(Rule::read(own), routes!(webhooks::get))
        .add(Rule::write(own), routes!(webhooks::patch))
        .add(Rule::write(own), routes!(webhooks::delete))
        .add(Rule::write(own), routes!(webhooks::rotate))
        .add(Rule::write(own), routes!(webhooks::ping))
        .add(Rule::read(own), routes!(webhook_log::deliveries))
        .add(Rule::write(own), routes!(webhook_log::replay))
        .add(Rule::read(own), routes!(events::list))
        .add(Rule::read(own), routes!(events::stream))
        .page(Rule::PUBLIC, "GET", "/c", get(customer::show))
        .page(Rule::PUBLIC, "GET", "/c/live", get(customer::live))
        .page(Rule::PUBLIC, "GET", "/c/receipt.txt", get(customer::receipt))
        .page(Rule::PUBLIC, "GET", "/c/confirm", get(customer::back))
        .page(Rule::PUBLIC, "GET", "/c/stop", get(customer::back))
        .page(Rule::LINK, "POST", "/c/confirm", post(customer::act::confirm))
        .page(Rule::LINK, "POST", "/c/stop", post(customer::act::stop))
        .page(Rule::PUBLIC, "GET", "/c/{token}", get(customer::enter))
        .add(Rule::PUBLIC, routes!(links::page))
        .add(Rule::LINK, routes!(links::answer))
        .add(Rule::PUBLIC, routes!(meta::openapi))
        .add(Rule::PUBLIC, routes!(meta::problems))
        .add(Rule::PUBLIC, routes!(meta::healthz))
        .add(Rule::PUBLIC, routes!(meta::readyz))
        .add(Rule::PUBLIC, routes!(meta::metrics))
        .page(Rule::page(lab), "GET", "/", get(page::board::board))
        .page(Rule::page(ops), "GET", "/ops/board/live", get(page::board::board_live))
        .page(Rule::page(ops), "GET", "/ops/cutoffs", get(page::board::cutoffs))
        .page(Rule::page(ops), "GET", "/ops/labs/{lab}", get(page::ops::lab))
        .page(Rule::page(ops), "GET", "/ops/labs/{lab}/live", get(page::ops::lab_live))
        .page(Rule::form(ops), "POST", "/ops/labs/{lab}/pause", post(page::ops::pause))
        .page(Rule::form(ops), "POST", "/ops/labs/{lab}/resume", post(page::ops::resume))
        .page(Rule::page(ops), "GET", "/ops/batches/{batch}", get(page::ops::batch))
        .page(Rule::page(ops), "GET", "/ops/batches/{batch}/live", get(page::ops::batch_live))
        .page(Rule::sure_form(ops), "POST", "/ops/batches/{batch}/release", post(page::ops::release))
        .page(Rule::guarded_form(ops), "POST", "/ops/batches/{batch}/postpone", post(page::ops::postpone))
        .page(Rule::page(ops), "GET", "/ops/orders/{order}", get(page::ops::order))
        .page(Rule::page(ops), "GET", "/ops/orders/{order}/live", get(page::ops::order_live))
        .page(Rule::page(ops), "GET", "/ops/orders/{order}/stop", get(page::ops::stop))
        .page(Rule::page(ops), "GET", "/ops/orders/{order}/stop/live", get(page::ops::stop_live))
        .page(Rule::stop_form(ops), "POST", "/ops/orders/{order}/stop", post(page::ops::stop_asked))
        .page(Rule::page(ops), "GET", "/ops/stops", get(page::ops::stops))
        .page(Rule::page(ops), "GET", "/ops/stops/live", get(page::ops::stops_live))
        .page(Rule::page(ops), "GET", "/ops/escalations", get(page::ops::escalations))
        .page(Rule::page(ops), "GET", "/ops/escalations/live", get(page::ops::escalations_live))
        .page(Rule::sure_form(ops), "POST", "/ops/escalations/{escalation}", post(page::ops::resolve))
        .page(Rule::sure_form(ops), "POST", "/ops/approvals/{approval}", post(page::ops::decide))
        .page(Rule::page(ops), "GET", "/ops/webhooks", get(page::ops::webhooks))
        .page(Rule::page(ops), "GET", "/ops/webhooks/{webhook}", get(page::ops::webhook))
        .page(Rule::page(ops), "GET", "/ops/search", get(page::ops::search))
        .done()
}
