#include "runtime/probe.h"

#include "runtime/container.h"
#include "runtime/node.h"
#include "runtime/pod.h"

namespace fairway::runtime {

struct ProbeSet::Probe {
  const char* name;  // "Readiness" ...
  Json spec;
  std::chrono::seconds period, timeout;
  std::int64_t success_threshold = 1, failure_threshold = 3;
  std::int64_t successes = 0, failures = 0;
  bool ok = false;
  io::Loop::Timer timer;
  std::unique_ptr<HandlerRun> running;
};

static std::unique_ptr<Json> probe_spec(const Container& container, const char* field) {
  const Json* found = member(container.spec(), field);
  return found ? std::make_unique<Json>(*found) : nullptr;
}

ProbeSet::ProbeSet(Node& node, Container& container) : node_(node), container_(container) {
  const auto make = [&](const char* name, const char* field) -> std::unique_ptr<Probe> {
    auto spec = probe_spec(container, field);
    if (!spec) return nullptr;
    auto probe = std::make_unique<Probe>();
    probe->name = name;
    probe->spec = std::move(*spec);
    probe->period = std::chrono::seconds(std::max<std::int64_t>(1, number(probe->spec, "periodSeconds", 10)));
    probe->timeout = std::chrono::seconds(std::max<std::int64_t>(1, number(probe->spec, "timeoutSeconds", 1)));
    probe->success_threshold = std::max<std::int64_t>(1, number(probe->spec, "successThreshold", 1));
    probe->failure_threshold = std::max<std::int64_t>(1, number(probe->spec, "failureThreshold", 3));
    return probe;
  };
  startup_ = make("Startup", "startupProbe");
  readiness_ = make("Readiness", "readinessProbe");
  liveness_ = make("Liveness", "livenessProbe");
}

ProbeSet::~ProbeSet() = default;

void ProbeSet::begin() {
  if (startup_) return start(*startup_);
  container_.started_ = true;
  if (!readiness_) container_.ready_ = true;
  else start(*readiness_);
  if (liveness_ && !container_stops_) start(*liveness_);
}

// May be called by one of the two: its run is then out of `running` (see run()).
void ProbeSet::container_stops() {
  container_stops_ = true;
  for (Probe* probe : {startup_.get(), liveness_.get()}) {
    if (!probe) continue;
    probe->timer.cancel();
    probe->running.reset();
  }
}

void ProbeSet::start(Probe& probe) {
  probe.timer = node_.loop.after(std::chrono::seconds(number(probe.spec, "initialDelaySeconds")), [this, &probe] { run(probe); });
}

void ProbeSet::run(Probe& probe) {
  probe.timer = node_.loop.after(probe.period, [this, &probe] { run(probe); });
  if (probe.running) return;
  probe.running = run_handler(node_, container_.target(), probe.spec, probe.timeout, [this, &probe](Status status) {
    // The run must outlive its own callback.
    node_.loop.post([old = std::shared_ptr<HandlerRun>(std::move(probe.running))] {});
    result(probe, status);
  });
}

// The last act of each branch may end the container, and this object with it.
void ProbeSet::result(Probe& probe, const Status& status) {
  if (status.ok()) {
    probe.failures = 0;
    if (++probe.successes >= probe.success_threshold && !probe.ok) passed(probe);
    return;
  }
  probe.successes = 0;
  container_.event("Warning", "Unhealthy", std::string(probe.name) + " probe failed: " + status.error().message);
  if (++probe.failures >= probe.failure_threshold) failed(probe);
}

void ProbeSet::passed(Probe& probe) {
  probe.ok = true;
  if (&probe == startup_.get()) {
    probe.timer.cancel();
    node_.loop.post([alive = std::weak_ptr<bool>(container_.alive_), this, id = container_.attempt_->id] {
      // The startup probe's own run is over before it is dropped.
      if (alive.expired() || container_.probes_.get() != this || !container_.attempt_ || container_.attempt_->id != id) return;
      startup_.reset();
      begin();
      container_.pod_.schedule_sync();
    });
    return;
  }
  if (&probe == readiness_.get()) container_.ready_ = true;
  container_.pod_.schedule_sync();
}

void ProbeSet::failed(Probe& probe) {
  if (&probe == readiness_.get()) {
    const bool was = container_.ready_;
    probe.ok = false;
    container_.ready_ = false;
    if (was) container_.pod_.schedule_sync();
    return;
  }
  probe.timer.cancel();
  const auto grace = std::chrono::seconds(number(probe.spec, "terminationGracePeriodSeconds", container_.pod_.grace_seconds()));
  const std::string which = &probe == startup_.get() ? "startup" : "liveness";
  container_.stop(grace, "Container " + container_.name() + " failed " + which + " probe, will be restarted");
}

}  // namespace fairway::runtime
