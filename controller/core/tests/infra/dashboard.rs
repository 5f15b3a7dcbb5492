//! The dashboard: every metric once, in the order in which somebody asks who is woken at night.
//!
//! Pools, markets and reasons are found by a search, so that a new pool shows without a change of the stack.

use std::fmt::Write as _;

use muster_core::metric::{self, NAMESPACE, dimension};
use serde_json::{Value, json};

/// The grid's width (CloudWatch's dashboards).
const COLUMNS: u32 = 24;
const WIDTH: u32 = 8;
const HEIGHT: u32 = 6;

/// One line of a graph.
struct Line {
    metric: &'static str,
    /// `None`: whatever dimensions it has.
    dimensions: Option<&'static [&'static str]>,
    statistic: &'static str,
    period_s: u32,
}

impl Line {
    /// Shown as a search, that CloudWatch turns into a line for each value of the dimensions.
    fn show(&self, id: usize) -> Value {
        let Line { metric, statistic, period_s, .. } = self;
        let schema = match self.dimensions {
            Some([]) => return json!([NAMESPACE, metric, {"stat": statistic, "period": period_s}]),
            Some(dimensions) => format!("{{{NAMESPACE},{}}}", dimensions.join(",")),
            None => format!("Namespace=\"{NAMESPACE}\""),
        };
        let search = format!("SEARCH('{schema} MetricName=\"{metric}\"', '{statistic}', {period_s})");
        json!([{"expression": search, "id": format!("e{id}")}])
    }
}

const MINUTE: u32 = 60;
const FIVE: u32 = 300;
const POOL: Option<&[&str]> = Some(&[dimension::POOL]);
const WHOLE: Option<&[&str]> = Some(&[]);

const fn line(metric: &'static str, dimensions: Option<&'static [&'static str]>, statistic: &'static str) -> Line {
    Line { metric, dimensions, statistic, period_s: MINUTE }
}

const fn slow(line: Line) -> Line {
    Line { period_s: FIVE, ..line }
}

fn ours() -> Vec<(&'static str, Vec<Line>)> {
    let by_market = Some(&[dimension::POOL, dimension::MARKET][..]);
    let by_outcome = Some(&[dimension::POOL, dimension::OUTCOME][..]);
    let by_reason = Some(&[dimension::POOL, dimension::REASON][..]);
    let p95 = |metric| slow(line(metric, POOL, "p95"));
    vec![
        (
            "Queue time, p50 and p95",
            vec![slow(line(metric::QUEUE_TIME, POOL, "p50")), slow(line(metric::QUEUE_TIME, POOL, "p95"))],
        ),
        ("Oldest job that waits", vec![line(metric::OLDEST_QUEUED_JOB, POOL, "Maximum")]),
        ("Pools without anything for jobs that wait", vec![line(metric::POOL_EXHAUSTED, POOL, "Maximum")]),
        (
            "Jobs queued, started, completed",
            vec![
                line(metric::JOBS_QUEUED, POOL, "Sum"),
                line(metric::JOBS_STARTED, by_market, "Sum"),
                line(metric::JOBS_COMPLETED, by_outcome, "Sum"),
            ],
        ),
        (
            "Runners busy, idle, booting",
            vec![
                line(metric::RUNNERS_BUSY, POOL, "Maximum"),
                line(metric::RUNNERS_IDLE, POOL, "Maximum"),
                line(metric::RUNNERS_BOOTING, POOL, "Maximum"),
            ],
        ),
        (
            "Depth: idle, ready and standby",
            vec![
                line(metric::POOL_DEPTH, POOL, "Minimum"),
                line(metric::RUNNERS_READY, POOL, "Minimum"),
                line(metric::RUNNERS_STANDBY, POOL, "Minimum"),
            ],
        ),
        (
            "Where queue time goes, p95 of each stage",
            vec![
                p95(metric::WEBHOOK_DELAY),
                p95(metric::DECISION_DELAY),
                p95(metric::LAUNCH_DELAY),
                p95(metric::BOOT_DELAY),
                p95(metric::REGISTER_DELAY),
                p95(metric::PICKUP_DELAY),
            ],
        ),
        (
            "Launches refused, machines taken back",
            vec![
                slow(line(metric::LAUNCH_FAILURES, by_reason, "Sum")),
                slow(line(metric::SPOT_INTERRUPTIONS, POOL, "Sum")),
                slow(line(metric::JOBS_RERUN, Some(&[dimension::OUTCOME]), "Sum")),
            ],
        ),
        ("US dollars an hour", vec![line(metric::ESTIMATED_COST, POOL, "Maximum")]),
        (
            "Should be 0: plan violations, facts set aside, bad configurations, bells lost, unknown machines",
            vec![
                line(metric::PLAN_VIOLATIONS, WHOLE, "Sum"),
                line(metric::FACTS_SET_ASIDE, WHOLE, "Sum"),
                line(metric::CONFIG_REFUSED, WHOLE, "Sum"),
                line(metric::BELLS_LOST, WHOLE, "Sum"),
                line(metric::MACHINES_UNKNOWN, WHOLE, "Sum"),
                line(metric::JOBS_STRANDED, WHOLE, "Maximum"),
            ],
        ),
        ("Calls of AWS", vec![line(metric::AWS_REQUESTS, WHOLE, "Sum")]),
        ("Webhooks refused, by reason", vec![line(metric::WEBHOOKS_REJECTED, Some(&[dimension::REASON]), "Sum")]),
        (
            "Ticks: how long",
            vec![line(metric::TICK_DURATION, WHOLE, "Average"), line(metric::TICK_DURATION, WHOLE, "Maximum")],
        ),
        (
            "Jobs found without their webhook",
            vec![
                line(metric::WEBHOOKS_HEALED, Some(&[dimension::REASON]), "Sum"),
                line(metric::HEAL_DELAY, None, "Maximum"),
            ],
        ),
        ("GitHub: requests left", vec![line(metric::GITHUB_RATE_REMAINING, None, "Minimum")]),
        ("Life of idle registrations, p50", vec![slow(line(metric::IDLE_REGISTRATION_LIFE, POOL, "p50"))]),
        ("Age of the runner release on the image", vec![slow(line(metric::RUNNER_VERSION_AGE, None, "Maximum"))]),
    ]
}

/// AWS's own metrics of what the stack is made of.
fn theirs() -> Vec<(&'static str, Value)> {
    let function = |name: &str| format!("muster-${{Fleet}}-{name}");
    let of = |metric: &str, statistic: &str| -> Vec<Value> {
        let functions = ["door", "agents", "scaler", "registrar", "healer"].map(function);
        functions.map(|name| json!(["AWS/Lambda", metric, "FunctionName", name, {"stat": statistic}])).to_vec()
    };
    let queue = |name: &str, metric: &str| json!(["AWS/SQS", metric, "QueueName", name, {"stat": "Maximum"}]);
    let age = "ApproximateAgeOfOldestMessage";
    let count = "ApproximateNumberOfMessagesVisible";
    let (bell, claims) = (function("bell.fifo"), function("claims.fifo"));
    let dead = ["bell-dead.fifo", "claims-dead.fifo", "undelivered"].map(function);
    let api = |metric: &str| json!(["AWS/ApiGateway", metric, "ApiId", "${Api}", {"stat": "Sum"}]);
    vec![
        ("Functions: invocations", json!(of("Invocations", "Sum"))),
        ("Functions: errors and throttles", json!([of("Errors", "Sum"), of("Throttles", "Sum")].concat())),
        ("Functions: duration, p95", json!(of("Duration", "p95"))),
        ("Queues: oldest message", json!([queue(&bell, age), queue(&claims, age)])),
        ("Queues: what nobody could take", json!(dead.map(|name| queue(&name, count)))),
        ("HTTP API", json!([api("Count"), api("4xx"), api("5xx")])),
    ]
}

fn widgets() -> Vec<Value> {
    let ours = ours().into_iter().map(|(title, lines)| {
        let lines: Vec<Value> = lines.iter().enumerate().map(|(id, line)| line.show(id + 1)).collect();
        (title, json!(lines))
    });
    let all = ours.chain(theirs()).zip(0u32..);
    let widget = |((title, metrics), index): ((&str, Value), u32)| {
        let (across, down) = (index % (COLUMNS / WIDTH), index / (COLUMNS / WIDTH));
        json!({
            "type": "metric", "x": across * WIDTH, "y": down * HEIGHT, "width": WIDTH, "height": HEIGHT,
            "properties": {
                "title": title, "region": "${AWS::Region}", "view": "timeSeries", "period": MINUTE,
                "metrics": metrics, "yAxis": {"left": {"min": 0}},
            },
        })
    };
    all.map(widget).collect()
}

/// The part of the template.
pub(crate) fn render() -> String {
    let mut told = "  Dashboard:
    Type: AWS::CloudWatch::Dashboard
    Properties:
      DashboardName: !Sub muster-${Fleet}
      DashboardBody: !Sub |
        {\"widgets\": [
"
    .to_owned();
    let widgets = widgets();
    for (at, widget) in widgets.iter().enumerate() {
        let comma = if at + 1 == widgets.len() { "" } else { "," };
        let _ = writeln!(told, "          {widget}{comma}");
    }
    told.push_str("        ]}\n");
    told
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let there = ours();
    for metric in metric::ALL {
        let shown = there.iter().any(|(_, lines)| lines.iter().any(|line| line.metric == metric.name));
        assert!(shown, "{} is on no graph", metric.name);
    }
}

/// A dashboard that is no JSON is refused at the deployment, not by a linter.
#[test]
fn the_body_is_json_and_nothing_but_known_names_is_filled_in() {
    let part = render();
    let (_, body) = part.split_once("!Sub |\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["widgets"].as_array().unwrap().len(), ours().len() + theirs().len());
    let mut rest = body.to_string();
    for known in ["${AWS::Region}", "${Fleet}", "${Api}"] {
        assert!(rest.contains(known));
        rest = rest.replace(known, "");
    }
    assert!(!rest.contains("${"), "{rest}");
    // CloudWatch takes 500 metrics in a graph and 1 MB of body; a function of ours is far below.
    assert!(part.len() < 100_000);
}
