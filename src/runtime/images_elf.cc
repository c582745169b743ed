#include "runtime/images_elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "sys/fd.h"

namespace fairway::runtime {
namespace {

class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    sys::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st {};
    if (!fd || ::fstat(fd.get(), &st) < 0 || st.st_size < static_cast<off_t>(sizeof(Elf64_Ehdr))) return;
    void* p = ::mmap(nullptr, static_cast<std::size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (p == MAP_FAILED) return;
    data_ = static_cast<const char*>(p);
    size_ = static_cast<std::size_t>(st.st_size);
  }
  ~Mapping() {
    if (data_) ::munmap(const_cast<char*>(data_), size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  template <typename T>
  bool get(std::uint64_t at, T& out) const {
    if (!data_ || at > size_ || size_ - at < sizeof(T)) return false;
    std::memcpy(&out, data_ + at, sizeof(T));
    return true;
  }
  std::string text(std::uint64_t at) const {
    if (!data_ || at >= size_) return "";
    const std::size_t most = std::min<std::size_t>(size_ - at, 4096);
    return std::string(data_ + at, ::strnlen(data_ + at, most));
  }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

// The dynamic section holds addresses; the loaded segments say where in the file they are.
std::uint64_t file_offset(const Mapping& file, const Elf64_Ehdr& head, std::uint64_t address) {
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr ph;
    if (!file.get(head.e_phoff + i * sizeof ph, ph)) break;
    if (ph.p_type == PT_LOAD && address >= ph.p_vaddr && address - ph.p_vaddr < ph.p_filesz) return address - ph.p_vaddr + ph.p_offset;
  }
  return 0;
}

}  // namespace

ElfNeeds elf_needs(const std::string& path) {
  ElfNeeds needs;
  const Mapping file(path);
  Elf64_Ehdr head;
  if (!file.get(0, head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
      head.e_ident[EI_DATA] != ELFDATA2LSB)
    return needs;
  needs.is_elf = true;
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr ph;
    if (!file.get(head.e_phoff + i * sizeof ph, ph)) break;
    if (ph.p_type == PT_INTERP) needs.interpreter = file.text(ph.p_offset);
    if (ph.p_type != PT_DYNAMIC) continue;
    std::vector<std::uint64_t> names;
    std::uint64_t strings = 0;
    Elf64_Dyn dyn;
    for (std::uint64_t at = 0; at + sizeof dyn <= ph.p_filesz && file.get(ph.p_offset + at, dyn) && dyn.d_tag != DT_NULL;
         at += sizeof dyn) {
      if (dyn.d_tag == DT_NEEDED) names.push_back(dyn.d_un.d_val);
      if (dyn.d_tag == DT_STRTAB) strings = file_offset(file, head, dyn.d_un.d_ptr);
    }
    for (const std::uint64_t name : names)
      if (strings != 0) needs.libraries.push_back(file.text(strings + name));
  }
  return needs;
}

}  // namespace fairway::runtime
