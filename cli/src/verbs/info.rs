//! `info`: all that is known of a topic.

use ferrocal::{Layer, LayerChoice, LayerReason, Seen, TopicInfo};
use serde::Serialize;

use crate::exit::Exit;
use crate::network::{Network, layer_name};
use crate::output::{DIM, HEAD, Output, clean};
use crate::row::{PUBLISHER, Row, SUBSCRIBER};
use crate::session::{End, Session};

/// Show each publisher and subscriber of a topic: layers, rates, drops, latency.
///
/// The lines "route" of a subscriber say which layer carries what each publisher sends to it, and why not the others.
///
/// Keys of --json, an object for each of them: those of list, and layer_states (objects of name, enabled, active),
/// routes (of a subscriber, an object for each publisher: publisher, the id, and layers, objects of name and reason),
/// bytes_per_second (hz times bytes), descriptor_bytes, and latency, which is null or an object of count, latest_us, min_us,
/// max_us, mean_us, deviation_us: from the send time to the receive time of a subscriber's messages.
#[derive(clap::Args)]
pub(crate) struct Info {
    /// The topic's name.
    topic: String,
}

/// A publisher or subscriber, as `info --json` prints it.
#[derive(Serialize)]
struct Peer {
    #[serde(flatten)]
    row: Row,
    layer_states: Vec<LayerState>,
    routes: Vec<Route>,
    bytes_per_second: f64,
    descriptor_bytes: usize,
    latency: Option<Latency>,
}

#[derive(Serialize)]
struct LayerState {
    name: String,
    enabled: bool,
    active: bool,
}

/// How messages of a publisher come to a subscriber.
#[derive(Serialize)]
struct Route {
    publisher: String,
    layers: Vec<RouteLayer>,
}

#[derive(Serialize)]
struct RouteLayer {
    name: String,
    reason: String,
    #[serde(skip)]
    carries: bool,
}

#[derive(Serialize)]
struct Latency {
    count: u64,
    latest_us: f64,
    min_us: f64,
    max_us: f64,
    mean_us: f64,
    deviation_us: f64,
}

impl Info {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "info")?;
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        let of_topic = |all: &[Seen<TopicInfo>]| {
            let its = all.iter().filter(|seen| seen.info.topic_name == *self.topic);
            its.map(|seen| seen.info.clone()).collect::<Vec<_>>()
        };
        let (senders, readers) = (of_topic(&snapshot.publishers), of_topic(&snapshot.subscribers));
        let mut publishers: Vec<_> = senders.iter().map(|info| Peer::new(PUBLISHER, info)).collect();
        let mut subscribers: Vec<_> = readers.iter().map(|info| Peer::new(SUBSCRIBER, info)).collect();
        for (subscriber, info) in subscribers.iter_mut().zip(&readers) {
            subscriber.routes = senders.iter().map(|publisher| Route::new(publisher, info)).collect();
            subscriber.routes.sort_by(|one, other| one.publisher.cmp(&other.publisher));
        }
        if publishers.is_empty() && subscribers.is_empty() {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(format!(
                    "topic `{}` was not found {}",
                    clean(&self.topic),
                    network.place()
                ))),
            };
        }
        for peers in [&mut publishers, &mut subscribers] {
            peers.sort_by_key(|peer| peer.row.key());
        }
        let out = &mut session.out();
        if session.common.json {
            publishers.iter().chain(&subscribers).try_for_each(|peer| out.json(peer))?;
            return Ok(Exit::Fine);
        }
        let line = format!("publishers {}, subscribers {}", publishers.len(), subscribers.len());
        out.line(format_args!("{HEAD}{}{HEAD:#}: {line}", clean(&self.topic)))?;
        publishers.iter().chain(&subscribers).try_for_each(|peer| peer.print(out))?;
        Ok(Exit::Fine)
    }
}

impl Route {
    fn new(publisher: &TopicInfo, subscriber: &TopicInfo) -> Self {
        let layer = |choice: LayerChoice| RouteLayer {
            name: layer_name(choice.kind),
            reason: choice.reason.to_string(),
            carries: choice.reason == LayerReason::Carries,
        };
        Self {
            publisher: publisher.topic_id.to_string(),
            layers: LayerChoice::between(publisher, subscriber).map(layer).into(),
        }
    }

    /// Which layer carries the messages, and why not the others.
    fn describe(&self) -> String {
        let carrier = self.layers.iter().find(|layer| layer.carries);
        let others = self.layers.iter().filter(|layer| !layer.carries);
        let others: Vec<_> = others.map(|layer| format!("{}: {}", layer.name, layer.reason)).collect();
        let carrier = carrier.map_or("no layer", |layer| &layer.name);
        format!("{carrier} from {} ({})", self.publisher, others.join("; "))
    }
}

impl Peer {
    fn new(kind: &'static str, info: &TopicInfo) -> Self {
        let row = Row::new(kind, info);
        let state = |layer: &Layer| LayerState {
            name: layer_name(layer.kind),
            enabled: layer.enabled,
            active: layer.active,
        };
        Self {
            layer_states: info.layers.iter().map(state).collect(),
            routes: Vec::new(),
            bytes_per_second: row.hz * f64::from(row.bytes),
            descriptor_bytes: info.data_type.descriptor.len(),
            latency: info.latency.map(|latency| Latency {
                count: latency.count,
                latest_us: latency.latest_us,
                min_us: latency.min_us,
                max_us: latency.max_us,
                mean_us: latency.mean_us,
                deviation_us: (latency.sum_of_squares_us2 / latency.count as f64).sqrt(),
            }),
            row,
        }
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        let Self { row, .. } = self;
        out.line("")?;
        out.line(format_args!(
            "{HEAD}{}{HEAD:#} {} on {} {DIM}(pid {}, id {}){DIM:#}",
            row.kind,
            clean(&row.unit),
            clean(&row.host),
            row.pid,
            row.id
        ))?;
        let mut line =
            |name: &str, value: &str| out.line(format_args!("  {DIM}{name:<8}{DIM:#} {}", clean(value)));
        line("process", &row.process)?;
        let data_type = match (row.type_name.as_str(), row.encoding.as_str()) {
            ("", "") => "none registered".to_owned(),
            (name, encoding) => format!("{name} ({encoding}), descriptor of {} bytes", self.descriptor_bytes),
        };
        line("type", &data_type)?;
        let layer = |layer: &LayerState| {
            let state = match (layer.active, layer.enabled) {
                (true, _) => "active",
                (_, true) => "enabled",
                _ => "off",
            };
            format!("{} {state}", layer.name)
        };
        let layers = self.layer_states.iter().map(layer).collect::<Vec<_>>().join(", ");
        line("layers", if layers.is_empty() { "none in use" } else { &layers })?;
        self.routes.iter().try_for_each(|route| line("route", &route.describe()))?;
        line(
            "messages",
            &format!(
                "{} in all, {:.2} Hz, the latest of {} bytes, {:.0} bytes/s",
                row.clock, row.hz, row.bytes, self.bytes_per_second
            ),
        )?;
        line("drops", &row.drops.to_string())?;
        line(
            "peers",
            &format!("{} on the same host, {} on others", row.connections_local, row.connections_external),
        )?;
        if let Some(latency) = &self.latency {
            let Latency { count, latest_us, min_us, max_us, mean_us, deviation_us } = latency;
            line(
                "latency",
                &format!(
                    "{mean_us:.0} us mean, {min_us:.0} to {max_us:.0}, deviation {deviation_us:.0}, latest \
                     {latest_us:.0}, of {count} messages"
                ),
            )?;
        }
        Ok(())
    }
}
