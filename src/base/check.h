// CHECK(condition): a programmer's error aborts at once, in release builds too.
// Never for anything that input from outside can cause: that is an Error.
#pragma once

#include <cstdio>
#include <cstdlib>

#define FW_CHECK(condition)                                                              \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
