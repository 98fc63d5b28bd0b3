"""BitTorrent over uTP and nothing else, by libtorrent.

utp.py seed ADDRESS PORT DIRECTORY BYTES
    writes a file and its torrent into the directory, and serves it until standard input ends;
    the addresses of its peers go to a file there
utp.py fetch PROXY-HOST PROXY-PORT PEER PORT DIRECTORY SECONDS
    fetches it through a SOCKS5 proxy, UDP only, and prints the bytes a second that came after the
    first second, for so many seconds
"""

import os
import select
import sys
import time

import libtorrent as lt

COMMON = {
    "enable_outgoing_tcp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_utp": True,
    "enable_incoming_utp": True,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "rate_limit_ip_overhead": False,
    # Nothing but the network may be what limits.
    "request_queue_time": 10,
    "max_out_request_queue": 2000,
    "send_buffer_watermark": 8 << 20,
    "send_buffer_low_watermark": 1 << 20,
    "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.peer_notification,
}


def seed(address, port, directory, size):
    data = os.path.join(directory, "data")
    block = os.urandom(1 << 20)
    with open(data, "wb") as f:
        for i in range(size >> 20):
            f.write(i.to_bytes(8, "big") + block[8:])
    files = lt.file_storage()
    lt.add_files(files, data)
    torrent = lt.create_torrent(files, 1 << 20)
    lt.set_piece_hashes(torrent, directory)
    info = lt.torrent_info(torrent.generate())
    session = lt.session(dict(COMMON, listen_interfaces="%s:%d" % (address, port)))
    handle = session.add_torrent({"ti": info, "save_path": directory, "flags": lt.torrent_flags.seed_mode})
    handle.set_upload_limit(-1)
    with open(os.path.join(directory, "new"), "wb") as f:
        f.write(lt.bencode(torrent.generate()))
    os.rename(os.path.join(directory, "new"), os.path.join(directory, "data.torrent"))
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        for alert in session.pop_alerts():
            if isinstance(alert, lt.incoming_connection_alert):
                with open(os.path.join(directory, "peers"), "a") as f:
                    f.write("%s:%d\n" % alert.endpoint)


def fetch(host, port, peer, peer_port, directory, seconds):
    session = lt.session(dict(
        COMMON,
        listen_interfaces="0.0.0.0:0",
        proxy_type=lt.proxy_type_t.socks5,
        proxy_hostname=host,
        proxy_port=port,
        proxy_peer_connections=True,
        disk_io_write_mode=0,
    ))
    info = lt.torrent_info(os.path.join(directory, "data.torrent"))
    handle = session.add_torrent({"ti": info, "save_path": os.path.join(directory, "fetched")})
    begin = time.time()
    first = None
    while True:
        now, status = time.time(), handle.status()
        if status.total_payload_download == 0 and now - begin > 20:
            raise SystemExit("nothing comes: %s" % [str(a) for a in session.pop_alerts()])
        if status.total_payload_download == 0 and not status.num_peers:
            handle.connect_peer((peer, peer_port))
        if first is None and status.total_payload_download > 0:
            first = now
        if first is not None and now >= first + 1:
            break
        time.sleep(0.05)
    from_bytes, from_time = status.total_payload_download, now
    time.sleep(seconds)
    status = handle.status()
    if status.is_seeding:
        raise SystemExit("the file is too small")
    print((status.total_payload_download - from_bytes) / (time.time() - from_time))


def get(peer, peer_port, directory):
    session = lt.session(dict(COMMON, listen_interfaces="0.0.0.0:0"))
    info = lt.torrent_info(os.path.join(directory, "data.torrent"))
    handle = session.add_torrent({"ti": info, "save_path": os.path.join(directory, "fetched")})
    end = time.time() + 90 # a machine may be busy
    while not handle.status().is_seeding:
        if time.time() > end:
            raise SystemExit("it does not come: %s" % [str(a) for a in session.pop_alerts()])
        if not handle.status().num_peers:
            handle.connect_peer((peer, peer_port))
        time.sleep(0.2)


if __name__ == "__main__":
    a = sys.argv
    if a[1] == "seed":
        seed(a[2], int(a[3]), a[4], int(a[5]))
    elif a[1] == "get":
        get(a[2], int(a[3]), a[4])
    else:
        fetch(a[2], int(a[3]), a[4], int(a[5]), a[6], float(a[7]))
