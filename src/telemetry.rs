//! The log and the metrics: set up once, by `app` and the commands.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::domain::Fault;

/// What other crates say is heard from this level on, unless the filter names them.
const OTHERS: &str = "warn";
/// What strangers can make it say as often as they like.
const QUIET: &str = "h2=error";

/// Starts the log, to standard error. Later calls change nothing.
///
/// # Errors
/// If the level cannot be read.
pub fn log(config: &LogConfig) -> Result<(), Fault> {
    let simple = ["error", "warn", "info", "debug", "trace", "off"].contains(&config.level.as_str());
    let filter =
        if simple { format!("{OTHERS},{QUIET},stoppress={}", config.level) } else { config.level.clone() };
    let filter = EnvFilter::try_new(&filter).map_err(|_| {
        Fault::not(
            "log.level",
            &config.level,
            "error, warn, info, debug, or a filter such as \"info,stoppress::work=debug\"",
        )
    })?;
    let ansi =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && crate::config::variable("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, as in tests, keeps the first subscriber.
    let _ = match config.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    Ok(())
}

/// The metrics of this process. A second start in one process, as in tests, gives an empty page.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts collecting.
    #[must_use]
    pub fn start() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder);
        describe();
        Self(handle)
    }

    /// The page for a scraper.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Drains histograms; without it memory grows.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!("stoppress_close_lag_seconds", "How long after its cutoff a batch closed.");
    describe_counter!("stoppress_transfers_total", "Transfers by lab and by what the lab answered.");
    describe_counter!("stoppress_stops_total", "Stops that became final, by outcome.");
    describe_counter!("stoppress_stop_answers_total", "Answers of labs to stops.");
    describe_counter!("stoppress_loop_failures_total", "Steps of a loop that failed and were done again.");
    describe_counter!(
        "stoppress_log_reads_total",
        "Looks at the log for those who listen to it, all together."
    );
    describe_counter!(
        "stoppress_store_replays_total",
        "Sets that failed as a whole and were replayed one by one."
    );
    describe_counter!(
        "stoppress_grpc_requests_total",
        "Calls over gRPC by method and code; of a stream, how it began."
    );
    describe_histogram!("stoppress_grpc_request_seconds", "How long calls took until their answer began.");
    describe_gauge!("stoppress_links", "Connections of labs that dial out, by lab.");
    describe_counter!("stoppress_link_calls_total", "Calls over links, by lab, call and answer.");
    describe_histogram!("stoppress_link_call_seconds", "How long calls over links took, by call and answer.");
    describe_counter!("stoppress_link_ends_total", "Links that ended, by cause.");
    describe_gauge!("stoppress_orders_waiting", "Orders in open batches, by lab.");
    describe_gauge!("stoppress_transfers", "Transfers that are not at the lab, by phase.");
    describe_gauge!("stoppress_stops", "Stops by state.");
    describe_gauge!(
        "stoppress_stops_overdue",
        "Pending stops beyond their deadline. The allowed value is 0."
    );
    describe_gauge!("stoppress_escalations_open", "Decisions that wait for a person.");
    describe_gauge!("stoppress_lab_calls", "Calls to a lab under way.");
    describe_gauge!(
        "stoppress_lab_resting",
        "1 while a lab is not called because it did not speak, or asked for rest."
    );
}
