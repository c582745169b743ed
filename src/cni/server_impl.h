// The CNI server's inside; cni_server.cc receives, add.cc and remove.cc do, adopt.cc starts and tidies.
//
// All members are of the control thread. Calls about one attachment run one after the other (exclusive()); jobs on
// worker threads own what they touch and come back by Loop::post.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cni/cni_server.h"
#include "cni/endpoint_store.h"
#include "cni/request.h"
#include "cni/workers.h"
#include "hostnet/pod_link.h"

namespace fairway::cni {

hostnet::PodLink pod_link_of(const model::LocalEndpoint& endpoint);
WallTime wall_now();

class ServerImpl final : public CniServer {
 public:
  ServerImpl(io::Loop& loop, CniServerConfig config, EndpointSink& sink, EndpointStore store);
  ~ServerImpl() override;
  Status start();

  void set_network(PodNetwork network) override;
  void set_unavailable(std::string reason, bool running_pods_suffer) override;
  Status adopt() override;
  void handle(std::string_view body, std::function<void(CniReply)> done) override;
  std::vector<model::LocalEndpoint> endpoints() const override;
  std::vector<std::string> warnings() const override;
  Stats stats() const override;

 private:
  using Done = std::function<void(CniReply)>;
  struct Add {
    CniRequest request;
    model::LocalEndpoint endpoint;
    std::optional<io::Netlink> pod;                                           // a socket in the pod's namespace
    bool opened = false, created = false, announced = false, active = false;  // how far it came
    Done done;
  };
  using AddPtr = std::shared_ptr<Add>;
  struct Collection;  // one GC under way

  // cni_server.cc
  void dispatch(CniRequest request, Done done);
  CniReply status(const CniRequest& request) const;
  void reply_error(const std::string& version, const CniError& error, const Done& done);
  void step(std::string_view name) const {
    if (config_.on_step) config_.on_step(name);
  }
  void post(std::function<void()> task);                              // to the loop, dropped once this is destroyed
  bool exclusive(const Attachment& key, std::function<void()> task);  // false: too many wait already
  void release(const Attachment& key);

  // add.cc
  void add(AddPtr job);
  void add_again(AddPtr job, const model::LocalEndpoint& existing);
  void add_new(AddPtr job);
  void add_created(AddPtr job, Status status);
  void add_admitted(AddPtr job, Status status);
  void add_activated(AddPtr job, Status status);
  void add_failed(AddPtr job, ErrorCode code, Error error);
  void check(CniRequest request, Done done);

  // remove.cc
  void del(const CniRequest& request, Done done);
  Status withdraw(const Attachment& key);  // rows, then addresses, then (later) the interface
  void reap(const std::string& host_ifname);
  void reaped(const std::vector<std::string>& host_ifnames, Status status);
  void collect(CniRequest request, Done done);
  void collect_probed(const std::shared_ptr<Collection>& gc);
  void remove_orphans(const std::vector<std::string>& host_ifnames);

  // adopt.cc
  Status adopt_links();
  Status undo_unfinished(io::Netlink& node, const std::map<std::string, std::uint32_t>& alive);
  bool is_dead(const model::LocalEndpoint& endpoint) const;
  void announce(const StoredEndpoint& row);
  void forget(const Attachment& key);  // all notes about it
  void process_spool();
  void process_spooled(const std::string& path);
  Status settle_spooled(const Attachment& key);  // a DEL that came before this ADD
  void tidy();
  void spread_mtu();  // to pods made under another one
  void spread_mtu_to(const Attachment& key);

  io::Loop& loop_;
  const CniServerConfig config_;
  EndpointSink& sink_;
  EndpointStore store_;
  PodNetwork network_;
  bool adopted_ = false;
  std::string unavailable_;
  bool running_pods_suffer_ = false;
  Stats stats_;
  std::map<Attachment, std::deque<std::function<void()>>> busy_;
  std::map<std::string, std::vector<std::function<void()>>> reaping_;  // host interface -> ADDs that wait for its end
  std::map<Attachment, std::string> unannounced_;                      // finished, but the sink refused it: why
  std::set<Attachment> lost_;                                          // finished, but its interface is gone
  std::set<std::string> unreaped_;                                     // host interfaces that could not be removed
  std::set<Attachment> unfinished_;                                    // intended before this process began
  std::set<Attachment> unfreed_;                                       // withdrawn, but the journal could not take it
  std::set<std::string> spool_under_way_;
  std::map<Attachment, std::chrono::steady_clock::time_point> finished_at_;
  std::string reap_warning_, spool_warning_, mtu_warning_;
  io::Loop::Timer tidy_timer_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  const std::weak_ptr<int> alive_watch_ = alive_;  // for any thread: never written again
  std::unique_ptr<Workers> workers_;               // last: their threads end before what they post to
  std::unique_ptr<Reaper> reaper_;
};

}  // namespace fairway::cni
