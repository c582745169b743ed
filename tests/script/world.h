// World: the whole flow, from objects to maps, without an API server and without time: what the scripts act on.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>

#include "agent/flow.h"
#include "datapath/faulty_map.h"
#include "datapath/memory_map.h"
#include "datapath/policy_tables.h"
#include "k8s/decode.h"

namespace fairway::script {

// Where the rows go: maps in memory, or the kernel's.
struct Maps {
  virtual ~Maps() = default;
  virtual datapath::Map<fw_frontend_key, fw_frontend>& frontends() = 0;
  virtual datapath::Map<std::uint32_t, std::uint32_t>& slots() = 0;
  virtual datapath::Map<std::uint32_t, fw_backend>& backends() = 0;
  virtual datapath::Map<fw_addr, fw_endpoint>& endpoints() = 0;
  virtual datapath::Map<std::uint32_t, fw_node>& nodes() = 0;
  virtual datapath::PolicyTables& policy() = 0;
};
struct MapLimits {
  std::size_t frontends = 64, slots = 256, backends = 128, endpoints = 256, nodes = 32;
};
std::unique_ptr<Maps> memory_maps(const MapLimits& limits);

class World {
 public:
  // `fault_share` of all operations on maps and routes fail.
  World(Maps& maps, double fault_share, unsigned seed);
  ~World();

  void put_yaml(const std::string& yaml);  // several documents; throws what yaml-cpp throws
  void remove(const std::string& kind, const std::string& key);
  // CNI's: a pod of this node, by its "ns/name". The interface's number and the address are made from its number.
  void add_local(const std::string& pod, unsigned number);
  void remove_local(const std::string& pod);
  // A relist of everything with nothing but these objects.
  void relist_yaml(const std::string& yaml);
  // Marks all sources as synced (once), runs and retries until nothing is owed, and prunes.
  void settle();
  // The agent is killed and started again on the same maps: nothing else is kept.
  void restart();
  void set_faults(double share);

  // Ids left out: it depends on the inputs alone.
  std::string dump();
  std::size_t faults() const;
  // Every slot in use leads to a backend, and every frontend's run lies apart from the others'. Empty: whole.
  std::string broken();

 private:
  struct Routes;
  struct Faulty;
  struct Host;
  void start();
  void step();
  std::string dump_policy() const;
  bool decode(const std::string& yaml, const std::function<void(const k8s::SlimObject&)>& use);

  Maps& maps_;
  double share_;
  unsigned seed_;
  std::unique_ptr<Routes> routes_;
  std::unique_ptr<Faulty> faulty_;
  std::unique_ptr<Host> host_;
  std::map<std::string, model::LocalEndpoint> local_;
  model::Problems problems_;
  std::unique_ptr<reflect::Cluster> cluster_;
  std::unique_ptr<agent::Flow> flow_;
  reconcile::TimePoint now_{};
  bool synced_ = false;
};

}  // namespace fairway::script
