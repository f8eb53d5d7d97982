//! The verbs.

mod call;
mod config;
mod convert;
mod desc;
mod doctor;
mod echo;
mod find;
mod info;
mod list;
mod logs;
mod monitor;
mod nodes;
mod play;
mod publish;
mod rates;
mod rec_info;
mod record;
mod services;
mod shell;
mod stop;
mod traffic;

use clap::Subcommand;

use crate::exit::Exit;
use crate::session::Session;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    List(list::List),
    Nodes(nodes::Nodes),
    Info(info::Info),
    Find(find::Find),
    Desc(desc::Desc),
    Echo(echo::Echo),
    Hz(rates::Hz),
    Bw(rates::Bw),
    Delay(rates::Delay),
    Pub(publish::Pub),
    Services(services::Services),
    Call(call::Call),
    Stop(stop::Stop),
    Doctor(doctor::Doctor),
    Traffic(traffic::Traffic),
    Record(record::Record),
    Play(play::Play),
    Convert(convert::Convert),
    RecInfo(rec_info::RecInfo),
    Logs(logs::Logs),
    Monitor(monitor::Monitor),
    Config(config::Config),
    Completions(shell::Completions),
    Man(shell::Man),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Self::List(list) => list.run(session),
            Self::Nodes(nodes) => nodes.run(session),
            Self::Info(info) => info.run(session),
            Self::Find(find) => find.run(session),
            Self::Desc(desc) => desc.run(session),
            Self::Echo(echo) => echo.run(session),
            Self::Hz(hz) => hz.run(session),
            Self::Bw(bw) => bw.run(session),
            Self::Delay(delay) => delay.run(session),
            Self::Pub(publish) => publish.run(session),
            Self::Services(services) => services.run(session),
            Self::Call(call) => call.run(session),
            Self::Stop(stop) => stop.run(session),
            Self::Doctor(doctor) => doctor.run(session),
            Self::Traffic(traffic) => traffic.run(session),
            Self::Record(record) => record.run(session),
            Self::Play(play) => play.run(session),
            Self::Convert(convert) => convert.run(session),
            Self::RecInfo(info) => info.run(session),
            Self::Logs(logs) => logs.run(session),
            Self::Monitor(monitor) => monitor.run(session),
            Self::Config(config) => config.run(session),
            Self::Completions(completions) => completions.run(session),
            Self::Man(man) => man.run(),
        }
    }
}
