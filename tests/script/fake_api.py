#!/usr/bin/env python3
"""A static Kubernetes API for the agent alone: list, watch, and a way to change objects. No validation, no storage.

usage: fake_api.py [--port N] [FILE.json|FILE.yaml ...]
POST /admin/put with an object, /admin/delete with an object, /admin/cut (ends all watches), /admin/compact (all old
revisions answer 410), /admin/raw?path=... (sends a line to all watches of that path, whatever it is).
"""
import argparse
import json
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PATHS = {"Namespace": "/api/v1/namespaces", "Node": "/api/v1/nodes", "Pod": "/api/v1/pods", "Service": "/api/v1/services",
         "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
         "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
         "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"}


class Store:
    def __init__(self):
        self.lock = threading.Lock()
        self.revision = 100
        self.oldest = 0
        self.objects = {path: {} for path in PATHS.values()}
        self.watchers = {path: [] for path in PATHS.values()}
        self.history = {path: [] for path in PATHS.values()}

    def put(self, obj, kind="MODIFIED"):
        path = PATHS[obj["kind"]]
        meta = obj.setdefault("metadata", {})
        key = (meta.get("namespace", ""), meta["name"])
        with self.lock:
            self.revision += 1
            meta["resourceVersion"] = str(self.revision)
            if kind == "DELETED":
                self.objects[path].pop(key, None)
            else:
                kind = "MODIFIED" if key in self.objects[path] else "ADDED"
                self.objects[path][key] = obj
            line = json.dumps({"type": kind, "object": obj})
            self.history[path].append((self.revision, line))
            for watcher in self.watchers[path]:
                watcher.put(line)

    def cut(self):
        with self.lock:
            for watchers in self.watchers.values():
                for watcher in watchers:
                    watcher.put(None)


STORE = Store()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        url = urlparse(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path not in STORE.objects:
            return self.answer(404, {"kind": "Status", "code": 404, "message": "not found"})
        if query.get("watch") == "true":
            return self.watch(url.path, int(query.get("resourceVersion", "0")))
        limit = int(query.get("limit", "100000"))
        start = int(query.get("continue", "0"))
        with STORE.lock:
            items = list(STORE.objects[url.path].values())
            meta = {"resourceVersion": str(STORE.revision)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items[start:start + limit]})

    def chunk(self, line):
        data = line.encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def watch(self, path, since):
        events = queue.Queue()
        with STORE.lock:
            if since < STORE.oldest:
                return self.answer(410, {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            for revision, line in STORE.history[path]:
                if revision > since:
                    events.put(line)
            STORE.watchers[path].append(events)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while (line := events.get()) is not None:
                self.chunk(line)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass
        finally:
            with STORE.lock:
                STORE.watchers[path].remove(events)

    def do_POST(self):
        url = urlparse(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if url.path == "/admin/put":
            STORE.put(json.loads(body))
        elif url.path == "/admin/delete":
            STORE.put(json.loads(body), "DELETED")
        elif url.path == "/admin/cut":
            STORE.cut()
        elif url.path == "/admin/compact":
            with STORE.lock:
                STORE.revision += 1
                STORE.oldest = STORE.revision
            STORE.cut()
        elif url.path == "/admin/raw":
            path = parse_qs(url.query)["path"][0]
            with STORE.lock:
                for watcher in STORE.watchers[path]:
                    watcher.put(body.decode())
        self.answer(200, {})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    for name in args.files:
        with open(name, encoding="utf-8") as file:
            if name.endswith(".json"):
                objects = json.load(file)
            else:
                import yaml
                objects = [o for o in yaml.safe_load_all(file) if o]
        for obj in objects:
            STORE.put(obj)
    server = ThreadingHTTPServer((args.host, args.port), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
