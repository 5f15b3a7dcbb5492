//! The alarms: what is worth to wake somebody for, and what that one does then.
//!
//! Metrics of the fleet as a whole have no dimension. Those of pools have one whose values the stack does not know: their
//! alarms are Metrics Insights queries over all pools, and the dashboard says which pool it is.

use std::fmt::Write as _;

use muster_core::metric::{self, NAMESPACE, dimension};

/// What an alarm looks at.
enum Source {
    /// One of ours without a dimension.
    Own { metric: &'static str, statistic: &'static str },
    /// One of ours, the given function of it over all values of its dimensions.
    Pools { function: &'static str, metric: &'static str, dimensions: &'static [&'static str] },
    /// A function's, by its resource in the template.
    Function { resource: &'static str, metric: &'static str },
    /// A queue's, by its resource.
    Queue { resource: &'static str, metric: &'static str },
    /// The HTTP API's.
    Api { metric: &'static str },
}

/// When it is bad.
enum Bad {
    Above(&'static str),
    AtLeast(&'static str),
    Below(&'static str),
}

struct Alarm {
    /// The resource's name in the template; with dashes, the alarm's.
    name: &'static str,
    source: Source,
    bad: Bad,
    period_s: u32,
    /// Of so many periods so many must be bad.
    of: &'static str,
    must: &'static str,
    /// Whether silence is bad too.
    silence_is_bad: bool,
    /// What it means, and what to do.
    about: &'static str,
}

/// One bad period, as soon as it is there.
const AT_ONCE: (&str, &str) = ("1", "1");

const MINUTE: u32 = 60;
const FIVE: u32 = 300;

fn all() -> Vec<Alarm> {
    let one = |name, source, bad, period_s, (of, must): (&'static str, &'static str), about| Alarm {
        name,
        source,
        bad,
        period_s,
        of,
        must,
        silence_is_bad: false,
        about,
    };
    let silent = |alarm: Alarm| Alarm { silence_is_bad: true, ..alarm };
    let pools = |function, metric, dimensions| Source::Pools { function, metric, dimensions };
    let own = |metric, statistic| Source::Own { metric, statistic };
    let function = |resource, metric| Source::Function { resource, metric };
    let queue = |resource, metric| Source::Queue { resource, metric };
    let by_pool = &[dimension::POOL];
    let minutes = ("!Ref ExhaustedMinutes", "!Ref ExhaustedMinutes");
    vec![
        one(
            "PoolExhausted",
            pools("MAX", metric::POOL_EXHAUSTED, by_pool),
            Bad::Above("0"),
            MINUTE,
            minutes,
            "Jobs of a pool wait, and nothing is idle or booting for them. The dashboard says which pool. Then: muster \
             explain --job for one of its jobs; see whether a cap or the budget is reached, launches fail, a breaker is \
             open, or the switch is not on run.",
        ),
        one(
            "OldestQueuedJob",
            pools("MAX", metric::OLDEST_QUEUED_JOB, by_pool),
            Bad::Above("!Ref OldestJobSeconds"),
            MINUTE,
            ("5", "4"),
            "A job waits for longer than OldestJobSeconds. The dashboard says in which pool. Then: muster explain --job, \
             which says what it waits for.",
        ),
        one(
            "LaunchFailures",
            pools("SUM", metric::LAUNCH_FAILURES, &[dimension::POOL, dimension::REASON]),
            Bad::AtLeast("10"),
            FIVE,
            ("3", "3"),
            "The cloud refuses launches, and has for a quarter of an hour. The dashboard says by which reason: capacity \
             heals by itself or with more instance types and zones; quota needs a request to AWS; configuration means that \
             the image, the template or a role is wrong.",
        ),
        one(
            "RunnerVersionAge",
            pools("MAX", metric::RUNNER_VERSION_AGE, by_pool),
            Bad::AtLeast("1728000"),
            FIVE,
            AT_ONCE,
            "GitHub has offered a newer runner release than the one on an image for 20 days; ten days later it may give its \
             runners no more jobs. The dashboard says which pool, the healer's log which shape. Then: build a new image with \
             the newest release; standby stock is renewed by itself.",
        ),
        one(
            "JobsStranded",
            own(metric::JOBS_STRANDED, "Maximum"),
            Bad::Above("0"),
            FIVE,
            ("3", "1"),
            "GitHub keeps a job open though its machine has been gone for half an hour; its run does not end. The healer's log \
             says which, and on which runner. Where the pool sets rerun_interrupted, the run is cancelled and run again if \
             nothing else goes on in it and it is known which job the dead runner holds. Then: if it does not end by itself, \
             cancel the run at GitHub, by force if need be, and run it again.",
        ),
        one(
            "FactsSetAside",
            own(metric::FACTS_SET_ASIDE, "Sum"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "Stored facts cannot be read and were set aside. No job is lost by that, but what they say is not known. Then: \
             muster ledger --table TABLE --set-aside shows them with the reason; report it as a bug.",
        ),
        one(
            "MachinesUnknown",
            own(metric::MACHINES_UNKNOWN, "Sum"),
            Bad::Above("0"),
            FIVE,
            ("3", "2"),
            "Machines with the fleet's tag run that the ledger does not know: it was emptied or is another one, and a second \
             fleet may be launched beside them; or somebody has started them. Then: muster switch --table TABLE no-launch, \
             and bring the former ledger back, or terminate them by their tag; the scaler's log names one.",
        ),
        one(
            "ConfigRefused",
            own(metric::CONFIG_REFUSED, "Sum"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "The configuration in the bucket cannot be used; the last good one is in force. Then: muster check says what is \
             wrong with it, and the function's log which version and why; put a good one in its place.",
        ),
        one(
            "PlanViolations",
            own(metric::PLAN_VIOLATIONS, "Sum"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "The checker struck an action out of a plan: a bug, and it was not done. Then: search the scaler's log for \
             violation; if machines or jobs suffer, muster switch --table TABLE no-launch; report it.",
        ),
        one(
            "WebhooksRejected",
            own(metric::WEBHOOKS_REJECTED, "Sum"),
            Bad::AtLeast("10"),
            FIVE,
            ("3", "2"),
            "The door refuses deliveries. The dashboard says by which reason. A bad signature for all of them means that \
             the secret on GitHub and the one in the parameter differ: put the new one beside the old. Else somebody is \
             knocking, and nothing needs to be done.",
        ),
        silent(one(
            "TicksMissing",
            own(metric::TICK_DURATION, "SampleCount"),
            Bad::Below("1"),
            MINUTE,
            ("5", "5"),
            "No tick has ended for five minutes: nothing is launched or ended. Then: look at the alarms on bells and on \
             the scaler's errors, and at its log; GET /healthz says whether the door can reach the ledger.",
        )),
        silent(one(
            "ScheduleSilent",
            function("Door", "Invocations"),
            Bad::Below("1"),
            MINUTE,
            ("5", "5"),
            "Nothing invokes the door, not even the schedule of one minute. Then: see whether the rule that ends in \
             -schedule is enabled, and whether the account has executions left.",
        )),
        one(
            "BellsUnheard",
            queue("BellQueue", "ApproximateAgeOfOldestMessage"),
            Bad::Above("120"),
            MINUTE,
            ("3", "3"),
            "Bells are not heard: the scaler crashes, times out or is not invoked. Then: its log and its errors; see \
             whether its event source is enabled.",
        ),
        one(
            "BellDeadLetters",
            queue("BellDeadLetters", "ApproximateNumberOfMessagesVisible"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "The scaler has crashed or timed out three times on a batch of bells. Bells hold nothing, so nothing is lost, \
             but a tick does not end: see the scaler's log. Then purge the queue.",
        ),
        one(
            "ClaimsDeadLetters",
            queue("ClaimsDeadLetters", "ApproximateNumberOfMessagesVisible"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "The registrar has crashed or timed out three times. Claims are in the ledger and not lost: see its log and \
             GitHub's status. Then purge the queue.",
        ),
        one(
            "Undelivered",
            queue("Undelivered", "ApproximateNumberOfMessagesVisible"),
            Bad::Above("0"),
            FIVE,
            AT_ONCE,
            "Events of EC2 or Auto Scaling, or timers, did not reach the door. The scaler finds out by looking, some \
             minutes later. Then: the door's log at that time; read the messages, then purge the queue.",
        ),
        one(
            "DoorErrors",
            function("Door", "Errors"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The door crashes or times out. GitHub does not repeat a delivery by itself. Then: the door's log; redeliver \
             what failed in the App's settings, Advanced, within three days.",
        ),
        one(
            "DoorThrottles",
            function("Door", "Throttles"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The door has no executions left: GitHub gets 503 and does not repeat a delivery by itself. Then: raise \
             DoorConcurrency; or keep agents from using up the account's executions, with AgentsConcurrency; or ask AWS for \
             a higher quota of concurrent executions.",
        ),
        one(
            "AgentsErrors",
            function("Agents", "Errors"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The door of the agents crashes or times out: machines ask again, and are late. Then: its log, whose group ends \
             in -agents.",
        ),
        one(
            "AgentsThrottles",
            function("Agents", "Throttles"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The door of the agents has no executions left: each idle machine holds one in its long poll. Machines ask \
             again, and claims and orders are late. Then: raise AgentsConcurrency, or the account's quota of concurrent \
             executions; or keep fewer machines idle.",
        ),
        one(
            "DoorFails",
            Source::Api { metric: "5xx" },
            Bad::AtLeast("5"),
            FIVE,
            ("3", "2"),
            "The HTTP API answers with 5xx: deliveries and claims fail. Then: the access log's fields error and \
             integrationError; GET /healthz.",
        ),
        one(
            "ScalerErrors",
            function("Scaler", "Errors"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The scaler crashes or times out. Each time the next tick is up to a minute late. Then: its log; if it has to do \
             with memory or time, raise MemorySize.",
        ),
        one(
            "ScalerThrottles",
            function("Scaler", "Throttles"),
            Bad::AtLeast("10"),
            FIVE,
            ("3", "3"),
            "The scaler is wanted while it runs, again and again: something besides its queue invokes it, or the account has \
             no executions left. Then: look for another event source.",
        ),
        one(
            "RegistrarErrors",
            function("Registrar", "Errors"),
            Bad::AtLeast("1"),
            FIVE,
            ("3", "2"),
            "The registrar crashes or times out: machines wait for their configuration. Then: its log, GitHub's status, and \
             whether the App key is still valid.",
        ),
        one(
            "HealerErrors",
            function("Healer", "Errors"),
            Bad::AtLeast("1"),
            FIVE,
            ("6", "4"),
            "The healer crashes or times out: a job whose webhook is lost waits until it works again. Then: its log, and \
             GitHub's status.",
        ),
        one(
            "RegistrarThrottles",
            function("Registrar", "Throttles"),
            Bad::AtLeast("10"),
            FIVE,
            ("3", "3"),
            "The registrar is wanted while it runs, again and again. Then: see whether something besides its queue invokes \
             it, and whether the account has executions left.",
        ),
    ]
}

/// `PoolExhausted` as `pool-exhausted`.
fn dashed(name: &str) -> String {
    let mut dashed = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !dashed.is_empty() {
            dashed.push('-');
        }
        dashed.push(character.to_ascii_lowercase());
    }
    dashed
}

/// A Metrics Insights query.
pub(crate) fn query(function: &str, metric: &str, dimensions: &[&str]) -> String {
    format!("SELECT {function}({metric}) FROM SCHEMA({NAMESPACE}, {})", dimensions.join(", "))
}

fn source(alarm: &Alarm) -> String {
    let plain = |namespace: &str, metric: &str, statistic: &str, dimension: Option<(&str, String)>| {
        let dimension = dimension
            .map_or(String::new(), |(name, value)| format!("      Dimensions: [{{ Name: {name}, Value: {value} }}]\n"));
        format!(
            "      Namespace: {namespace}\n      MetricName: {metric}\n{dimension}      Statistic: {statistic}\n      \
             Period: {}\n",
            alarm.period_s
        )
    };
    match &alarm.source {
        Source::Own { metric, statistic } => plain(NAMESPACE, metric, statistic, None),
        Source::Function { resource, metric } => {
            plain("AWS/Lambda", metric, "Sum", Some(("FunctionName", format!("!Ref {resource}"))))
        }
        Source::Queue { resource, metric } => {
            plain("AWS/SQS", metric, "Maximum", Some(("QueueName", format!("!GetAtt {resource}.QueueName"))))
        }
        Source::Api { metric } => {
            plain("AWS/ApiGateway", &format!("\"{metric}\""), "Sum", Some(("ApiId", "!Ref Api".to_owned())))
        }
        Source::Pools { function, metric, dimensions } => format!(
            "      Metrics:\n        - Id: pools\n          Expression: \"{}\"\n          Period: {}\n          \
             ReturnData: true\n",
            query(function, metric, dimensions),
            alarm.period_s
        ),
    }
}

/// The part of the template.
pub(crate) fn render() -> String {
    let mut told = String::new();
    for alarm in all() {
        let (comparison, threshold) = match alarm.bad {
            Bad::Above(threshold) => ("GreaterThanThreshold", threshold),
            Bad::AtLeast(threshold) => ("GreaterThanOrEqualToThreshold", threshold),
            Bad::Below(threshold) => ("LessThanThreshold", threshold),
        };
        let condition =
            if matches!(alarm.source, Source::Pools { .. }) { "    Condition: HasPoolAlarms\n" } else { "" };
        let missing = if alarm.silence_is_bad { "breaching" } else { "notBreaching" };
        let _ = write!(
            told,
            "  {name}Alarm:
    Type: AWS::CloudWatch::Alarm
{condition}    Properties:
      AlarmName: !Sub muster-${{Fleet}}-{dashed}
      AlarmDescription: \"{about}\"
{source}      ComparisonOperator: {comparison}
      Threshold: {threshold}
      EvaluationPeriods: {of}
      DatapointsToAlarm: {must}
      TreatMissingData: {missing}
      AlarmActions: !If [HasTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]
      OKActions: !If [HasTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]

",
            name = alarm.name,
            dashed = dashed(alarm.name),
            about = alarm.about,
            source = source(&alarm),
            of = alarm.of,
            must = alarm.must,
        );
    }
    told
}

#[test]
fn every_alarm_says_what_to_do() {
    for alarm in all() {
        assert!(
            alarm.about.contains("Then") || alarm.about.contains("needs to be done") || alarm.about.contains("heals")
        );
        // CloudWatch's limit, and what would break the quotes.
        assert!(alarm.about.len() <= 1_024, "{}: {} bytes", alarm.name, alarm.about.len());
        assert!(!alarm.about.contains(['"', '\\', '\n']), "{}", alarm.name);
    }
}

/// Those that must never stay silent, because nothing else tells of them.
#[test]
fn what_is_worth_a_page_has_an_alarm() {
    let there = render();
    for metric in [
        metric::POOL_EXHAUSTED,
        metric::OLDEST_QUEUED_JOB,
        metric::LAUNCH_FAILURES,
        metric::FACTS_SET_ASIDE,
        metric::MACHINES_UNKNOWN,
        metric::CONFIG_REFUSED,
        metric::PLAN_VIOLATIONS,
        metric::WEBHOOKS_REJECTED,
        metric::TICK_DURATION,
    ] {
        assert!(there.contains(metric), "no alarm looks at {metric}");
    }
}
