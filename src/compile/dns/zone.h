// Zone: the cluster's DNS data as one immutable value, and the builder that keeps it in step with the rows.
//
// Place: rows -> [compile/dns] -> Zone -> dns::DnsServer::publish. Pure: no clock, log, random or I/O.
// Records follow the Kubernetes DNS specification 1.1.0, and the dashed-IP pod records that left it but are in use.
// Invariants:
// - a name depends on its own Service with its slices, or on its own pod, and on nothing else: a change costs
//   the size of that Service, not of the cluster;
// - building step by step, in any order, gives the same Zone as compile_zone() of the final rows (zone_test.cc);
// - a Zone never changes once snapshot() has returned it. It shares all that is unchanged with its predecessor,
//   and any thread may read it without a lock.
// The builder belongs to the control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/rows.h"
#include "net/ip.h"

namespace fairway::compile::dns {

struct ZoneConfig {
  std::string domain = "cluster.local";
  std::vector<net::IpAddr> nameservers;  // the DNS Service's addresses: NS record and its glue
  std::vector<net::Prefix> reverse;      // Service and pod ranges: their PTR names are ours alone, never forwarded
  std::uint32_t ttl_seconds = 5;         // also of negative answers: a new name is seen this soon
};

enum class RecordType : std::uint16_t { kA = 1, kNs = 2, kCname = 5, kSoa = 6, kPtr = 12, kTxt = 16, kAaaa = 28, kSrv = 33 };
constexpr std::uint16_t kTypeAny = 255;

// Names here are lower-case text without the final dot ("web.default.svc.cluster.local").
struct Record {
  RecordType type = RecordType::kA;
  std::string owner;
  net::IpAddr addr;            // A, AAAA
  std::string target;          // NS, CNAME, PTR, SRV: a name; TXT: the text; SOA: the primary's name
  std::uint16_t priority = 0;  // SRV
  std::uint16_t weight = 0;
  std::uint16_t port = 0;
  bool operator==(const Record&) const = default;
};

struct Answer {
  enum class Kind {
    kOutside,     // not a name of ours: ask elsewhere
    kIncomplete,  // ours, but the sources have not synced yet: neither yes nor no can be said
    kNxDomain,
    kNoData,  // the name exists (or one below it does), the type does not
    kRecords,
    kCname,  // one CNAME record, whatever the type asked: follow it
  };
  Kind kind = Kind::kOutside;
  std::vector<Record> records;
  std::vector<Record> additional;  // addresses of SRV and NS targets
  std::string apex;                // of the zone that answers: owner of the SOA in a negative answer
};

struct ZoneCounts {
  std::size_t services = 0;   // with at least one name
  std::size_t addresses = 0;  // with a PTR record
  std::size_t pods = 0;       // dashed-IP pod records
};

class Zone {
 public:
  ~Zone();
  Zone(const Zone&) = delete;
  Zone& operator=(const Zone&) = delete;

  // `labels`: the name asked for, leaf first, lower-case, without the root ("web","default","svc","cluster","local").
  // Labels may hold any bytes. `type` is the query's type, kTypeAny gives the first type there is (RFC 8482).
  Answer lookup(std::span<const std::string_view> labels, std::uint16_t type) const;

  bool complete() const;
  const ZoneConfig& config() const;
  // Grows by one with each snapshot that differs from the one before; the SOA's serial.
  std::uint32_t serial() const;
  ZoneCounts counts() const;
  // Every record, sorted: for `fairway show dns` and for tests. Costs the whole zone.
  std::vector<Record> dump() const;

  struct State;  // for the .cc files of this folder

 private:
  friend class ZoneBuilder;
  explicit Zone(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

// Whether a builder can be made of it.
Status check(const ZoneConfig& config);

class ZoneBuilder {
 public:
  // `config` has passed check().
  explicit ZoneBuilder(ZoneConfig config);
  ~ZoneBuilder();
  ZoneBuilder(ZoneBuilder&&) noexcept;
  ZoneBuilder& operator=(ZoneBuilder&&) noexcept;

  // `slices`: all slices of this Service, of any family. Call it only once the Service's addresses are programmed:
  // a name that resolves must also connect (requirements, pain 20).
  void set_service(const model::Service& service, std::span<const model::EndpointSlice> slices);
  void remove_service(const model::Name& id);
  void set_pod(const model::Pod& pod);
  void remove_pod(const model::Name& id);
  // Until every source has synced, what is missing is answered kIncomplete and not kNxDomain.
  void set_complete(bool complete);

  // The present state; the same pointer as before if nothing changed.
  std::shared_ptr<const Zone> snapshot();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The whole at once.
std::shared_ptr<const Zone> compile_zone(ZoneConfig config, std::span<const model::Service> services,
                                         std::span<const model::EndpointSlice> slices, std::span<const model::Pod> pods);

}  // namespace fairway::compile::dns
