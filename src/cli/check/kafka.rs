//! What a source's brokers tell: who answers, the topics, what this user may do, the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::findings::{Finding, Subject};
use crate::{
    config::{Config, DeadLetters, KafkaSource, Route},
    error::{Error, ErrorKind},
    source::kafka::{Inspector, Right, TopicFacts},
};

/// An outage of the sink that is longer loses records.
const SHORT_RETENTION: Duration = Duration::from_secs(86_400);

/// All routes of one source.
pub(super) struct Routes<'a> {
    pub(super) source: &'a str,
    pub(super) kafka: &'a KafkaSource,
    pub(super) routes: Vec<&'a Route>,
}

impl<'a> Routes<'a> {
    pub(super) fn of(config: &'a Config, source: &'a str, kafka: &'a KafkaSource) -> Self {
        let routes = config.routes.iter().filter(|route| route.source == source);
        Self { source, kafka, routes: routes.collect() }
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::new("kafka", format!("source {}", self.source))
    }

    pub(super) fn topics(&self) -> Vec<&'a str> {
        self.routes.iter().flat_map(|route| &route.topics).map(String::as_str).collect()
    }

    /// Those that are read, and those that take dead letters.
    pub(super) fn all_topics(&self) -> BTreeSet<&'a str> {
        self.topics().into_iter().chain(self.dead_letter_topics()).collect()
    }

    /// The topics that take dead letters.
    fn dead_letter_topics(&self) -> BTreeSet<&'a str> {
        let targets = self.routes.iter().flat_map(|route| &route.to);
        targets
            .filter_map(|target| match &target.dead_letters {
                DeadLetters::Topic(topic) => Some(topic.as_str()),
                DeadLetters::Table => None,
            })
            .collect()
    }
}

/// Who answers, and how soon.
pub(super) fn brokers(routes: &Routes<'_>, inspector: &Inspector<'_>) -> Vec<Finding> {
    let subject = routes.subject();
    let brokers = inspector.brokers();
    let shown: Vec<String> = brokers.iter().map(|(id, host)| format!("{id} {host}")).collect();
    let count = brokers.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{count} broker{plural} ({})", shown.join(", "));
    let topics = routes.topics();
    let trip = topics.first().and_then(|topic| inspector.round_trip(topic).ok());
    if let Some(trip) = trip {
        text.push_str(&format!(", an answer in {:.1} ms", trip.as_secs_f64() * 1e3));
    }
    text.push_str(&format!(", cluster {}", inspector.cluster_id));
    let mut findings = vec![subject.ok(text)];
    if inspector.cluster_id.is_empty() {
        findings.push(subject.fail(
            ErrorKind::Unavailable,
            "the brokers do not tell the id of their cluster, which the positions are stored under",
            "is this Kafka 0.10.1 or later?",
        ));
    }
    findings
}

/// Every topic that is read: whether it is there, and whether all of its partitions are.
pub(super) fn topics(routes: &Routes<'_>, inspector: &Inspector<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known: BTreeSet<i32> = inspector.brokers().iter().map(|(id, _)| *id).collect();
    for route in &routes.routes {
        let subject = Subject::new("kafka", format!("routes.{} from {}", route.name, route.source));
        let mut found = Vec::new();
        for name in &route.topics {
            match inspector.topic(name) {
                Err(error) => findings.push(subject.error(&error)),
                Ok(topic) => {
                    found.push(format!("{name} ({} partitions)", topic.partitions().len()));
                    let of_topic = Subject::new("kafka", format!("topic {name}"));
                    findings.extend(replicas(&of_topic, topic.partitions(), &known));
                }
            }
        }
        if !found.is_empty() {
            findings.push(subject.ok(found.join(", ")));
        }
    }
    findings
}

/// Partitions that nobody leads, or whose replicas are behind.
fn replicas(
    subject: &Subject,
    partitions: &[rdkafka::metadata::MetadataPartition],
    known: &BTreeSet<i32>,
) -> Vec<Finding> {
    let led = |id: i32| id >= 0 && known.contains(&id);
    let headless = partitions.iter().filter(|partition| !led(partition.leader())).count();
    let behind = partitions.iter().filter(|p| p.isr().len() < p.replicas().len()).count();
    let mut findings = Vec::new();
    if headless > 0 {
        findings.push(subject.fail(
            ErrorKind::Unavailable,
            format!("{headless} of {} partitions have no leader", partitions.len()),
            "bring the brokers back that have their replicas",
        ));
    } else if behind > 0 {
        findings.push(subject.hint(
            format!("{behind} of {} partitions have replicas that are behind", partitions.len()),
            "if it stays so, a broker is away or too slow",
        ));
    }
    findings
}

/// Topics that take dead letters.
pub(super) fn dead_letter_topics(routes: &Routes<'_>, inspector: &Inspector<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for topic in routes.dead_letter_topics() {
        let subject = Subject::new("kafka", format!("dead letters to topic {topic}"));
        findings.push(match inspector.topic(topic) {
            Ok(found) => subject.ok(format!("{} partitions", found.partitions().len())),
            Err(error) => {
                let message = format!("dead letters: {error}");
                subject.error(&Error::new(error.kind, message))
            }
        });
    }
    findings
}

/// What this user may do with the topics, and how they are set up. Asked at once, for all that are there.
pub(super) fn rights_and_settings(
    routes: &Routes<'_>,
    facts: &Result<BTreeMap<String, TopicFacts>, Error>,
) -> Vec<Finding> {
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => {
            let advice = "the rights, the ids and the settings of the topics were not looked at";
            return vec![routes.subject().hint(error.to_string(), advice)];
        }
    };
    let mut findings = Vec::new();
    for route in &routes.routes {
        for topic in &route.topics {
            let Some(facts) = facts.get(topic) else { continue };
            let subject = Subject::new("kafka", format!("topic {topic}"));
            findings.extend(rights(&subject, facts.rights.as_deref(), Right::Read, topic));
            findings.extend(match &facts.settings {
                Ok(settings) => judge_settings(&subject, settings, route),
                Err(error) => vec![subject.hint(
                    format!("its retention and its cleanup.policy were not told: {error}"),
                    "allow this user DescribeConfigs on the topic to have them looked at",
                )],
            });
        }
    }
    for topic in routes.dead_letter_topics() {
        let Some(facts) = facts.get(topic) else { continue };
        let subject = Subject::new("kafka", format!("dead letters to topic {topic}"));
        findings.extend(rights(&subject, facts.rights.as_deref(), Right::Write, topic));
    }
    findings
}

fn rights(
    subject: &Subject,
    rights: Option<&[Right]>,
    needed: Right,
    topic: &str,
) -> Option<Finding> {
    let name = needed.name();
    match rights {
        Some(rights) if rights.contains(&needed) => None,
        Some(_) => Some(subject.fail(
            ErrorKind::Permission,
            format!("this user has no right to {name} the topic"),
            format!(
                "kafka-acls.sh --add --allow-principal User:NAME --operation {name} --operation \
                 Describe --topic {topic}"
            ),
        )),
        None => Some(subject.hint(
            "the brokers do not tell what this user may do with it",
            format!("it needs {name} and Describe"),
        )),
    }
}

/// Settings of a topic that a route may stumble over.
fn judge_settings(
    subject: &Subject,
    settings: &BTreeMap<String, String>,
    route: &Route,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = |name: &str| settings.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).parse::<i64>().ok();
    if text("cleanup.policy").contains("compact") {
        findings.push(subject.hint(
            "compacted: of records with the same key only the last one is sure to be read",
            "right for write = \"upsert\" and \"mirror\"; a replay of an appended table would lack rows",
        ));
    }
    let deletes = !text("cleanup.policy").eq("compact");
    let retention = number("retention.ms").and_then(|ms| u64::try_from(ms).ok());
    if let Some(retention) = retention.map(Duration::from_millis).filter(|r| *r < SHORT_RETENTION)
        && deletes
    {
        findings.push(subject.warn(
            format!(
                "retention.ms is {}: what is not read within that time is lost",
                hours(retention)
            ),
            "longer than any outage of the database that you want to survive",
        ));
    }
    if let Some(bytes) = number("retention.bytes").filter(|bytes| *bytes >= 0)
        && deletes
    {
        findings.push(subject.hint(
            format!("retention.bytes is {bytes} for each partition: a burst may push out what is not read yet"),
            "make it large enough for the longest outage, or leave it to retention.ms",
        ));
    }
    let limit = number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
    // A batch has something of its own, too: Kafka's default is a little above ours.
    if let Some(limit) = limit.filter(|limit| *limit > route.max_record_bytes * 5 / 4) {
        findings.push(subject.hint(
            format!(
                "it takes records of {limit} bytes, and routes.{} up to {}: larger ones become dead letters",
                route.name, route.max_record_bytes
            ),
            "raise max_record_bytes if there are such records",
        ));
    }
    findings
}

fn hours(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 3600.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}

/// The group: whether it may be joined, and who else is in it.
pub(super) fn group(routes: &Routes<'_>, inspector: &Inspector<'_>) -> Vec<Finding> {
    let group = inspector.group();
    let subject = Subject::new("kafka", format!("group {group}"));
    let described = match inspector.describe_group() {
        Ok(described) => described,
        Err(error) if error.kind == ErrorKind::Permission => {
            let advice = format!(
                "kafka-acls.sh --add --allow-principal User:NAME --operation Read --operation Describe \
                 --group {group}"
            );
            return vec![subject.fail(error.kind, error.message, advice)];
        }
        Err(error) => {
            let advice = "is the broker away that coordinates the group (the leader of its partition of \
                          __consumer_offsets)?";
            return vec![subject.fail(error.kind, error.message, advice)];
        }
    };
    let mut findings = Vec::new();
    if described.rights.as_ref().is_some_and(|rights| !rights.contains(&Right::Read)) {
        findings.push(subject.fail(
            ErrorKind::Permission,
            "this user has no right to Read with the group: it cannot join it",
            format!(
                "kafka-acls.sh --add --allow-principal User:NAME --operation Read --group {group}"
            ),
        ));
    }
    let own = routes.kafka.properties.get("client.id");
    let own = own.map_or("tidegate", |client_id| client_id.expose());
    let (ours, others): (Vec<_>, Vec<_>) =
        described.members.iter().partition(|member| member.client_id == own);
    if !others.is_empty() {
        let shown: Vec<String> = others
            .iter()
            .map(|other| format!("{} at {}", other.client_id, other.host.trim_start_matches('/')))
            .collect();
        findings.push(subject.warn(
            format!(
                "members of it are not tidegate: {}. What they are given, tidegate does not read",
                shown.join(", ")
            ),
            format!("give sources.{} a group of its own", routes.source),
        ));
    }
    let state = match described.state.as_str() {
        "Dead" | "Unknown" if ours.is_empty() => "nobody has used it yet".to_owned(),
        state => format!("{state}, {} members are tidegate", ours.len()),
    };
    findings.push(subject.ok(state));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::findings::Status;

    fn judged(settings: &[(&str, &str)]) -> Vec<(Status, String)> {
        let toml = "[sources.s]\nkind = \"kafka\"\nbrokers = \"k:1\"\n[sinks.n]\nkind = \"null\"\n\
                    [[routes]]\nsource = \"s\"\ntopics = [\"t\"]\nto = [{ sink = \"n\" }]";
        let environment = crate::config::Environment::default();
        let config = Config::parse(toml, "t.toml", &[], &environment).unwrap();
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let findings = judge_settings(&Subject::new("kafka", "t"), &settings, &config.routes[0]);
        findings.into_iter().map(|finding| (finding.status, finding.finding)).collect()
    }

    #[test]
    fn settings_that_hurt_are_named_and_others_are_not() {
        let defaults = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "1048588"),
        ];
        assert_eq!(judged(&defaults), []);
        assert_eq!(judged(&[("cleanup.policy", "delete"), ("retention.ms", "-1")]), []);
        let cases = [
            (("cleanup.policy", "compact,delete"), Status::Hint, "compacted"),
            (("retention.ms", "5400000"), Status::Warn, "retention.ms is 2 h"),
            (("retention.bytes", "1000"), Status::Hint, "retention.bytes is 1000"),
            (("max.message.bytes", "10000000"), Status::Hint, "records of 10000000 bytes"),
        ];
        for (setting, status, text) in cases {
            let found = judged(&[setting]);
            assert_eq!((found.len(), found[0].0), (1, status), "{found:?}");
            assert!(found[0].1.contains(text), "{found:?}");
        }
        // A compacted topic that does not delete keeps the last of each key.
        assert_eq!(judged(&[("cleanup.policy", "compact"), ("retention.ms", "1000")]).len(), 1);
    }
}
