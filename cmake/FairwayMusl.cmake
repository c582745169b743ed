# fairway_use_musl(TARGET): compiles and links a small static C++ program against musl in place of glibc (docs/decisions/0012).
# Of the C++ library it has the headers alone: nothing that throws or allocates links. Package musl-dev.
string(REPLACE "gnu" "musl" musl_triple "${CMAKE_LIBRARY_ARCHITECTURE}")
set(musl_include /usr/include/${musl_triple})
set(musl_lib /usr/lib/${musl_triple})

function(fairway_use_musl target)
  if(NOT EXISTS ${musl_lib}/libc.a)
    message(FATAL_ERROR "${target} is linked with musl, and ${musl_lib}/libc.a is not there. Install it: apt-get install musl-dev")
  endif()
  set(includes ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  set(cxx_headers ${includes})
  list(FILTER cxx_headers INCLUDE REGEX "/c\\+\\+/")
  set(compiler_headers ${includes})
  list(FILTER compiler_headers INCLUDE REGEX "/gcc/.*/include$")
  set(flags -nostdinc)
  foreach(dir ${cxx_headers} ${musl_include} ${compiler_headers})
    list(APPEND flags "SHELL:-isystem ${dir}")
  endforeach()
  # libstdc++'s configuration asks glibc for its version; the answer here is: none.
  target_compile_options(${target} PRIVATE ${flags} "-D__GLIBC_PREREQ(major,minor)=0")
  target_link_options(${target} PRIVATE -nostdlib -static -no-pie ${musl_lib}/crt1.o ${musl_lib}/crti.o)
  target_link_libraries(${target} PRIVATE ${musl_lib}/libc.a gcc ${musl_lib}/crtn.o)
endfunction()
