//! The demo, played small and whole: real HTTP, real labs, real files.

use clap::Parser;
use stoppress::cli::demo::check::Kind;
use stoppress::cli::demo::{Demo, Error, quietly, report::Report};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    demo: Demo,
}

async fn play(line: &[&str]) -> Result<Report, Error> {
    let line = std::iter::once("demo").chain(line.iter().copied());
    quietly(&Line::try_parse_from(line).unwrap().demo).await
}

fn nothing_found(report: &Report) {
    for (kind, words) in Kind::ALL {
        assert_eq!(report.check.count(kind), 0, "{words}: {:?}", report.check.violations);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_orders_ends_without_a_violation() {
    let report = play(&["--days", "1", "--count", "60", "--seed", "3"]).await.unwrap();
    nothing_found(&report);
    assert_eq!((report.orders_accepted, report.orders_refused.len()), (60, 0));
    let stops = report.stops_by_lab.values();
    let (asked, at_once) = stops.fold((0, 0), |(a, b), line| (a + line.asked, b + line.in_the_gateway));
    assert!(asked >= 4 && at_once >= 1, "{:?}", report.stops_by_lab);
    assert!(report.check.in_time >= 1 && report.check.answers >= asked);
    assert!(report.unclear_hand_overs.values().sum::<usize>() >= 1, "labs lose answers");
    assert!(report.events > 120 && report.checkpoints > 20);
    let handed: u64 = report.windows.iter().map(|window| window.handed_over).sum();
    let received: usize = report.labs.iter().map(|lab| lab.received).sum();
    assert_eq!(handed, received as u64, "what the gateway says and what the labs have");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_order_lines_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sales.csv");
    let rows = "Order,Article,Pieces,When,Buyer,Land\n\
        1,A,6,2010-12-01 08:26:00,7,GB\n\
        1,POST,1,2010-12-01 08:26:00,7,GB\n\
        2,B1,1,2010-12-01 09:00:00,8,Finland\n\
        C3,A,-6,2010-12-01 10:00:00,7,GB\n\
        C4,Z,-6,2010-12-01 10:00:00,9,GB\n\
        5,A,x,2010-12-01 10:00:00,9,GB\n";
    std::fs::write(&file, rows).unwrap();
    let map = "invoice=Order,sku=Article,quantity=Pieces,at=When,customer=Buyer,country=Land";
    let line = ["--orders", file.to_str().unwrap(), "--map", map, "--time-zone", "Europe/Helsinki"];
    let report = play(&line).await.unwrap();
    nothing_found(&report);
    assert_eq!((report.orders_accepted, report.stops_of_unknown_orders), (2, 1));
    assert_eq!(report.broken_lines, ["line 7: Pieces: \"x\" is not a whole number"]);
    assert_eq!(report.stops_by_lab["thames/gb"].in_the_gateway, 1);
    assert_eq!(report.windows.iter().map(|window| window.handed_over).sum::<u64>(), 1);

    let fault = play(&["--orders", file.to_str().unwrap()]).await.unwrap_err();
    assert!(matches!(&fault, Error::Input(_)), "{fault}");
    assert!(fault.to_string().contains("no column \"InvoiceNo\""), "{fault}");
}
