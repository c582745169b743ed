#include "datapath/epoch.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace fairway::datapath {
namespace {

std::size_t page() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

Result<std::unique_ptr<SharedWord>> SharedWord::open(sys::Fd map) {
  void* shared = ::mmap(nullptr, page(), PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
  if (shared == MAP_FAILED) return errno_error(errno, "share a map's memory with the programs");
  return std::unique_ptr<SharedWord>(new SharedWord(static_cast<std::uint32_t*>(shared)));
}

SharedWord::~SharedWord() { ::munmap(value_, page()); }

Result<std::unique_ptr<Epoch>> Epoch::open(sys::Fd map) {
  FW_ASSIGN(auto word, SharedWord::open(std::move(map)));
  std::unique_ptr<Epoch> epoch(new Epoch(std::move(word)));
  // An adopted epoch is raised as well: what an earlier agent wrote last may have missed its own raise.
  epoch->raise();
  return epoch;
}

// 0 stands for "never written" in the programs' rows.
void Epoch::raise() {
  const std::atomic_ref<std::uint32_t> value = word_->value();
  if (value.fetch_add(1, std::memory_order_seq_cst) + 1 == 0) value.fetch_add(1, std::memory_order_seq_cst);
}

}  // namespace fairway::datapath
