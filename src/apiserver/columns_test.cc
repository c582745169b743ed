#include "apiserver/table.h"
#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;

std::vector<std::string> cells(const Printer& printer, const std::string& object) {
  const Json value = parse(object);
  return printer.cells(value.as_object());
}

// The pod's STATUS, READY and RESTARTS.
std::string pod(const std::string& status, const std::string& spec = "'containers':[{'name':'a'}]", const std::string& metadata = "") {
  const auto row = cells(printers::kPod, "{'metadata':{'name':'p'" + metadata + "},'spec':{" + spec + "},'status':{" + status + "}}");
  return row[2] + " " + row[1] + " " + row[3];
}

TEST(PodColumns, StatusAsKubectlShowsIt) {
  EXPECT_EQ(pod("'phase':'Pending'"), "Pending 0/1 0");
  EXPECT_EQ(pod("'phase':'Running','containerStatuses':[{'name':'a','ready':true,'state':{'running':{}}}]"), "Running 1/1 0");
  EXPECT_EQ(pod("'phase':'Pending','containerStatuses':[{'name':'a','state':{'waiting':{'reason':'ContainerCreating'}}}]"),
            "ContainerCreating 0/1 0");
  EXPECT_EQ(pod("'phase':'Pending','containerStatuses':[{'name':'a','state':{'waiting':{'reason':'ErrImagePull'}}}]"),
            "ErrImagePull 0/1 0");
  EXPECT_EQ(pod("'phase':'Running','containerStatuses':[{'name':'a','restartCount':3,'state':{'waiting':{'reason':'CrashLoopBackOff'}}}]"),
            "CrashLoopBackOff 0/1 3");
  EXPECT_EQ(pod("'phase':'Succeeded','containerStatuses':[{'name':'a','state':{'terminated':{'exitCode':0,'reason':'Completed'}}}]"),
            "Completed 0/1 0");
  EXPECT_EQ(pod("'phase':'Failed','containerStatuses':[{'name':'a','state':{'terminated':{'exitCode':3}}}]"), "ExitCode:3 0/1 0");
  EXPECT_EQ(pod("'phase':'Failed','containerStatuses':[{'name':'a','state':{'terminated':{'exitCode':137,'signal':9}}}]"),
            "Signal:9 0/1 0");
  EXPECT_EQ(pod("'phase':'Failed','reason':'Evicted'"), "Evicted 0/1 0");
  EXPECT_EQ(pod("'phase':'Running','containerStatuses':[{'name':'a','ready':true,'state':{'running':{}}}]", "'containers':[{'name':'a'}]",
                ",'deletionTimestamp':'2026-01-01T00:00:00Z'"),
            "Terminating 1/1 0");
}

TEST(PodColumns, InitContainers) {
  const std::string spec = "'initContainers':[{'name':'i'},{'name':'j'}],'containers':[{'name':'a'}]";
  EXPECT_EQ(pod("'phase':'Pending','initContainerStatuses':[{'name':'i','state':{'running':{}}},{'name':'j','state':{'waiting':{'reason':'"
                "PodInitializing'}}}]",
                spec),
            "Init:0/2 0/1 0");
  EXPECT_EQ(pod("'phase':'Pending','initContainerStatuses':[{'name':'i','state':{'terminated':{'exitCode':0}}},{'name':'j','state':{'"
                "running':{}}}]",
                spec),
            "Init:1/2 0/1 0");
  EXPECT_EQ(pod("'phase':'Pending','initContainerStatuses':[{'name':'i','state':{'terminated':{'exitCode':1,'reason':'Error'}}}]", spec),
            "Init:Error 0/1 0");
  EXPECT_EQ(
      pod("'phase':'Pending','initContainerStatuses':[{'name':'i','restartCount':2,'state':{'waiting':{'reason':'CrashLoopBackOff'}}}]",
          spec),
      "Init:CrashLoopBackOff 0/1 2");
}

TEST(Columns, Services) {
  const auto row = cells(printers::kService,
                         "{'metadata':{'name':'s'},'spec':{'type':'LoadBalancer','clusterIP':'10.0.0.1','selector':{'b':'2','a':'1'},'"
                         "ports':[{'port':80,'nodePort':30080,'protocol':'TCP'},{'port':53,'protocol':'UDP'}]}}");
  EXPECT_EQ(row[3], "<pending>");
  EXPECT_EQ(row[4], "80:30080/TCP,53/UDP");
  EXPECT_EQ(row[6], "a=1,b=2");
}

TEST(Columns, Nodes) {
  const auto row = cells(printers::kNode,
                         "{'metadata':{'name':'n','labels':{'node-role.kubernetes.io/"
                         "control-plane':''}},'spec':{'unschedulable':true},'status':{'conditions':[{'type':'Ready','status':'False'}]}}");
  EXPECT_EQ(row[1], "NotReady,SchedulingDisabled");
  EXPECT_EQ(row[2], "control-plane");
}

// Every kind has as many cells as columns, for an empty object too.
TEST(Columns, AsManyCellsAsColumns) {
  const KindTable kinds;
  for (const KindPtr& kind : kinds.all()) EXPECT_EQ(kind->printer->cells(Object()).size(), column_definitions(*kind).size()) << kind->kind;
}

}  // namespace
}  // namespace fairway::apiserver
