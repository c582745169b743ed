// What the engine knows, and the steps of compile(). See engine.h for the method; the parts are selectors.h (labels and groups),
// classifier.h (selectors x groups), block_tree.h, port_cuts.h and program.h (rules -> rows).
//
// State in is eager: groups, classifiers and lists are right after each set_ and remove_. What follows from them waits for
// compile(), which goes through what was marked: subjects -> predicates -> truth of groups -> programs -> ports -> classes -> rows.
// Each step takes what is new before it gives up what is old, so that what stays keeps its number.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "compile/policy/block_tree.h"
#include "compile/policy/classifier.h"
#include "compile/policy/engine.h"
#include "compile/policy/port_cuts.h"
#include "compile/policy/program.h"

namespace fairway::compile::policy {

using BlockId = std::uint32_t;

// A subject's key: the selectors of policies that hold for it, and where they ask for port names this and its PortSetId.
constexpr std::uint32_t kPortsFollow = 0xffffffff;
constexpr SubjectId kClosedSubject = 1;  // of a pod that is not known and shall be closed
constexpr PeerClass kNoClass = 1;        // FW_PEER_NONE

// Of a policy, and what its rules' names need.
using Origin = RuleName::Of;
using OriginPtr = std::shared_ptr<const Origin>;

struct RuleKey {
  std::vector<OriginPtr> origins;  // one for all rules of a policy as long as it has its name and uid
  Direction direction = Direction::kIngress;
  int rule = -1;
  std::string rule_name;
  bool operator==(const RuleKey&) const = default;
  std::size_t hash() const;
};

// A predicate on addresses. Where an address has several owners: `any`, as Deny needs it: one suffices; else it must hold for all.
struct Predicate {
  enum class Kind : std::uint8_t { kPods, kPort, kBlock, kNodes };
  Kind kind = Kind::kPods;
  bool any = false;
  std::uint32_t of = 0;      // SelectorId; kPort: of a selector with a port name, kBlock: BlockId, kNodes: LabelsId
  std::uint32_t number = 0;  // kPort: protocol << 16 | the port behind the name
  bool operator==(const Predicate&) const = default;
  std::size_t hash() const { return mix(mix(static_cast<std::uint64_t>(kind) << 1 | (any ? 1U : 0U), of), number); }
};

struct CompiledRule {
  struct Peer {
    Predicate::Kind kind;
    std::uint32_t id;
    bool operator==(const Peer&) const = default;
  };
  struct Range {
    std::uint8_t protocol;
    std::uint16_t first, last;
    bool operator==(const Range&) const = default;
  };
  struct PortName {  // ingress: looked up at the subject
    StringId name;
    std::uint8_t protocol;
    bool operator==(const PortName&) const = default;
  };
  struct NamedPeer {  // egress: pods with a port of that name, and in the block (0: anywhere)
    SelectorId pods;
    BlockId block;
    bool operator==(const NamedPeer&) const = default;
  };
  model::PolicyAction action = model::PolicyAction::kAllow;
  bool all_peers = false, all_ports = false;
  std::vector<Peer> peers;
  std::vector<Range> ranges;
  std::vector<PortName> port_names;
  std::vector<NamedPeer> named;
  std::string name;
  bool operator==(const CompiledRule&) const = default;
};

struct CompiledPolicy {
  OriginPtr origin;
  std::int32_t priority = 0;
  SelectorId subject = 0;
  bool isolates[2] = {false, false};
  std::vector<CompiledRule> rules[2];
  bool operator==(const CompiledPolicy&) const = default;
  bool asks_port_names() const;
};

struct Engine::Impl {
  Impl(RuleId first_rule, std::vector<net::Prefix> ranges) : pod_ranges(std::move(ranges)), rules(first_rule) {}
  struct PodRow {
    const std::string* key = nullptr;  // in pod_numbers
    bool exists = false;
    GroupId group = 0;        // 0: counts for nothing
    std::uint32_t place = 0;  // in the group's list
    StringId node = 0;
    std::vector<net::IpAddr> ips;
    std::vector<std::uint32_t> ifindexes;
  };
  struct GroupRow {
    std::vector<std::uint32_t> pods;
    std::vector<std::uint32_t> locals;  // ifindexes
    std::vector<PredicateId> truth;
    SubjectId subject = 0;
  };
  struct NodeRow {
    StringId name = 0;
    LabelSetId labels = 0;
    std::vector<net::IpAddr> addresses;  // all, sorted
    std::vector<net::IpAddr> own;        // those that its pods always reach, sorted
    std::vector<PredicateId> truth;
  };
  struct AddressRow {
    std::vector<std::uint32_t> pods, nodes;
    PeerClass told = 0;  // 0: no row
    bool dirty = false;
  };
  struct LocalRow {
    std::uint32_t pod = 0;
    Unknown unknown = Unknown::kOpen;
  };
  struct SelectorRow {
    PredicateId predicate[2] = {0, 0};    // by Predicate::any
    std::vector<PredicateId> numbers[2];  // kPort of a selector with a port name
    std::vector<std::uint32_t> policies;  // whose subject it is, in the order of their rules
    std::uint32_t ask_port_names = 0;     // how many of them
    LazySet subjects;
  };
  struct PredicateRow {
    LazySet users;  // subjects
    LazySet classes;
    bool installed = false;
  };
  struct SubjectState {
    enum Dirt : std::uint8_t { kClean, kPorts, kRules } dirt = kClean;
    std::vector<PredicateId> asked;  // held: those of its rules' peers
    std::vector<PredicateId> uses;   // asked, and those behind port names: sorted
    std::vector<RangeId> ranges;     // held
    std::vector<RuleId> rules;       // held
    Program program[2];
    std::vector<SubjectVerdict> rows;
    SubjectRow row;
    LazySet groups;
  };
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  template <typename T>
  using ByName = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

  // State in (engine_state.cc).
  std::uint32_t pod_number(const std::string& key);
  void forget_pod_if_unused(std::uint32_t number);
  void place_pod(std::uint32_t number, GroupId group, std::vector<net::IpAddr> ips);
  void join_group(std::uint32_t number, GroupId group);
  void leave_group(std::uint32_t number);
  void join_local(GroupId group, std::uint32_t ifindex);
  void leave_local(GroupId group, std::uint32_t ifindex);
  void own(const net::IpAddr& addr, std::uint32_t owner, bool node, bool add);
  void mark(const net::IpAddr& addr);
  void rename(StringId& held, const std::string& name);
  bool is_own(const PodRow& pod, const net::IpAddr& addr) const;
  void set_node_truth(NodeRow& node);

  // Policies (engine_policy.cc).
  CompiledPolicy compile_policy(const model::Policy& row, OriginPtr origin);
  CompiledRule compile_rule(const model::Policy& policy, const model::PolicyRule& rule, Direction direction);
  void compile_ports(const model::Policy& policy, const model::PolicyRule& rule, Direction direction, CompiledRule& out);
  void release_policy(const CompiledPolicy& policy);
  void list_policy(std::uint32_t number, bool add);
  void set_policy(const model::Policy& row);
  void remove_policy(std::string_view key);
  bool before(std::uint32_t a, std::uint32_t b) const;
  void build_program(SubjectId id);
  std::vector<std::uint32_t> policies_of(SubjectId id) const;
  void build_direction(Direction direction, const std::vector<std::uint32_t>& ordered, const std::vector<NamedPort>& ports, Program& out);
  void add_ways(const CompiledRule& rule, const std::vector<NamedPort>& ports, Program& out);
  std::vector<Predicate> asked_by(SubjectId id) const;
  RuleId acquire_rule(RuleKey key);
  void release_ranges(const std::vector<RangeId>& gone);
  bool selected_by(SubjectId subject, SelectorId selector) const;
  bool has_range(SubjectId subject, RangeId range) const;

  // Steps of compile() (engine_compile.cc).
  Delta compile();
  void assign_subjects();
  std::vector<std::uint32_t> subject_key(GroupId group) const;
  void give_subject(GroupId group, SubjectId subject);
  void drop_subject(SubjectId id);
  void ask_predicates();
  void install_predicates();
  void install(PredicateId id, bool here);
  void settle_truth();
  std::vector<PredicateId> truth_of(GroupId group);
  PredicateId acquire(const Predicate& predicate);
  void release(PredicateId id);
  void settle_programs();
  void settle_classes();
  void settle_addresses();
  void install_unknown(PredicateId id, bool here);
  std::optional<std::vector<PredicateId>> class_truth(const AddressRow& row, const net::IpAddr& addr) const;
  template <typename Owners, typename TruthOf>
  void append_owned(const Owners& owners, TruthOf truth_of, std::vector<PredicateId>& out) const;
  PeerClass acquire_class(std::vector<PredicateId> truth);
  void release_class(PeerClass id);
  void settle_rows();
  void rebuild_rows(SubjectId id);
  void patch_rows(SubjectId id, std::vector<PeerClass> classes);
  void tell_rows(SubjectId id, const SubjectVerdict* old_at, const SubjectVerdict* old_end, const SubjectVerdict* new_at,
                 const SubjectVerdict* new_end);
  void settle_locals();
  void dirty_subject(SubjectId id, SubjectState::Dirt dirt);
  void dirty_users(PredicateId id);
  void mark_local(std::uint32_t ifindex) { dirty_locals.push_back(ifindex); }
  bool uses(SubjectId subject, PredicateId predicate) const;
  bool has_truth(PeerClass peer_class, PredicateId predicate) const;
  template <typename Rows>
  static auto& at(Rows& rows, std::uint32_t id) {
    if (id >= rows.size()) rows.resize(id + 1);
    return rows[id];
  }

  Selectors selectors;
  Classifier subject_selectors{selectors}, peer_selectors{selectors};
  std::vector<SelectorRow> selector_rows;
  std::vector<GroupRow> groups;

  ByName<std::uint32_t> pod_numbers, node_numbers, policy_numbers;
  ByName<std::pair<StringId, LabelSetId>> namespaces;
  std::vector<PodRow> pods;
  std::vector<NodeRow> nodes;
  std::vector<CompiledPolicy> policies;
  std::vector<std::uint32_t> free_pods, free_nodes, free_policies;
  std::unordered_map<net::IpAddr, AddressRow> addresses;
  std::set<net::IpAddr> named;  // addresses with a row
  std::unordered_map<std::uint32_t, LocalRow> locals;
  std::unordered_map<std::uint32_t, SubjectRow> told_locals;

  const std::vector<net::Prefix> pod_ranges;
  std::size_t unknown_matches = 0;  // predicates that hold for pods that are not known yet
  Interner<Block> blocks;
  BlockTree block_tree;
  PortCuts ports;
  Interner<Predicate> predicates;
  std::vector<PredicateRow> predicate_rows;
  std::vector<PredicateId> node_predicates;
  Interner<std::vector<PredicateId>> classes{2};
  Interner<std::vector<std::uint32_t>> subject_keys{kClosedSubject + 1};
  std::deque<SubjectState> subjects;  // large: never moved
  Interner<RuleKey> rules;
  mutable std::unordered_map<RuleId, RuleName> rule_names;

  // Marked for compile().
  Delta delta;
  std::vector<GroupId> orphaned_groups;  // without pods, or without local ones
  std::vector<SubjectId> dirty_subjects;
  std::vector<PredicateId> changed_predicates;
  std::vector<net::IpAddr> dirty_addresses;
  std::vector<std::uint32_t> dirty_locals;
  std::vector<PeerClass> changed_classes, doomed_classes;
  std::vector<SubjectId> doomed_subjects;
  std::vector<RangeId> new_ranges;  // of the program being built
  std::vector<RuleId> new_rules;
};

}  // namespace fairway::compile::policy
