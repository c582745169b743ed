// EndpointStore: the durable list of this node's endpoints and of who has which address.
//
// An endpoint is *intended* (its ADD has begun: the address is taken, interfaces may exist) or *finished* (its ADD may
// have been answered). Each change is in the journal before the caller goes on, so that after a crash an intended one
// can be undone completely, and a finished one is kept. Memory and journal never differ: a change that cannot be
// journaled does not happen.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cni/ipam.h"
#include "cni/journal.h"
#include "cni/request.h"
#include "model/local_endpoint.h"

namespace fairway::cni {

struct StoredEndpoint {
  model::LocalEndpoint endpoint;
  bool finished = false;
};

class EndpointStore {
 public:
  // `boot_id`: that of the running kernel. Endpoints of another boot are dropped: their namespaces are gone.
  static Result<EndpointStore> open(const std::string& path, std::string boot_id, std::chrono::seconds cool_down, WallTime now);

  void set_ranges(std::vector<net::Prefix> ranges, const std::vector<net::IpAddr>& reserved) {
    ipam_.set_ranges(std::move(ranges), reserved);
  }
  const std::vector<net::Prefix>& ranges() const { return ipam_.ranges(); }

  // Takes addresses, fills endpoint.ips, and journals the intention. kAlreadyExists where there is such an endpoint.
  Status intend(model::LocalEndpoint& endpoint, const std::vector<net::IpAddr>& wanted, WallTime now);
  // The same endpoint with what is known since (indexes, cookie).
  Status finish(const model::LocalEndpoint& endpoint);
  // Gives the addresses back. `seen`: a packet may have carried them, so they rest first.
  Status free(const Attachment& key, WallTime now, bool seen);

  const StoredEndpoint* find(const Attachment& key) const;
  const std::map<Attachment, StoredEndpoint>& all() const { return rows_; }
  const Ipam& ipam() const { return ipam_; }
  std::vector<std::string> warnings() const { return warnings_; }
  // Rewrites the journal when most of it is history. Called after changes; a failure is kept as a warning.
  void compact_if_worth(WallTime now);

 private:
  EndpointStore(std::string boot_id, std::chrono::seconds cool_down) : boot_id_(std::move(boot_id)), ipam_(cool_down) {}
  void replay(std::string_view record, WallTime now);
  void replay_endpoint(std::string_view text, bool finished);
  void drop_all(WallTime now);
  std::string free_record(const Attachment& key, const std::vector<net::IpAddr>& ips, WallTime now, bool seen) const;
  Status rewrite(WallTime now);

  std::string boot_id_;
  std::string journal_boot_id_;  // of the records replayed so far
  std::unique_ptr<Journal> journal_;
  Ipam ipam_;
  std::map<Attachment, StoredEndpoint> rows_;
  std::vector<std::string> warnings_;
  std::size_t compacted_bytes_ = 0;
};

}  // namespace fairway::cni
