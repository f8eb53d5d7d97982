//! Tells which libpcap there is and which devices it lists. Given the name of the loopback device, it also captures
//! there the datagrams that it sends to itself.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ferrocal_pcap_lazy::pcap::{Capture, Device, Error};

const DATAGRAMS: usize = 3;

/// Bounds the wait for datagrams that do not come.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match ferrocal_pcap_lazy::load() {
        Ok(library) => println!("library: {library}, {:?}", library.location()),
        Err(reason) => println!("no library: {reason}"),
    }
    match Device::list() {
        Ok(devices) => devices.iter().for_each(|device| println!("device: {}", device.name)),
        Err(error) => println!("no devices: {error}"),
    }
    let Some(device) = std::env::args().nth(1) else { return ExitCode::SUCCESS };
    match capture(&device) {
        Ok(frames) => {
            println!("captured: {frames}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("no capture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn capture(device: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;

    let mut capture = Capture::from_device(device)?.immediate_mode(true).open()?.setnonblock()?;
    capture.filter(&format!("udp dst port {}", address.port()), true)?;
    for _ in 0..DATAGRAMS {
        socket.send_to(b"probe", address)?;
    }

    let end = Instant::now() + LONGEST_WAIT;
    let mut frames = 0;
    while frames < DATAGRAMS && Instant::now() < end {
        match capture.next_packet() {
            Ok(_) => frames += 1,
            Err(Error::TimeoutExpired | Error::NoMorePackets) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(frames)
}
