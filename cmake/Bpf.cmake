# fairway_bpf_object(NAME SOURCE): compiles bpf/SOURCE with clang to NAME.bpf.o and
# generates the libbpf skeleton header NAME.skel.h, reached through target NAME_skel.
find_program(CLANG_BPF NAMES clang-16 clang REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch OUTPUT_VARIABLE FAIRWAY_MULTIARCH OUTPUT_STRIP_TRAILING_WHITESPACE)

function(fairway_bpf_object name source)
  set(obj ${CMAKE_BINARY_DIR}/bpf/${name}.bpf.o)
  set(skel ${CMAKE_BINARY_DIR}/bpf/${name}.skel.h)
  add_custom_command(OUTPUT ${obj}
    COMMAND ${CLANG_BPF} -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-address-of-packed-member
            -D__TARGET_ARCH_x86 -I/usr/include/${FAIRWAY_MULTIARCH} -I${CMAKE_SOURCE_DIR}/bpf
            -MD -MF ${obj}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${obj}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source}
    DEPFILE ${obj}.d
    COMMENT "BPF ${source}" VERBATIM)
  add_custom_command(OUTPUT ${skel}
    COMMAND ${BPFTOOL} gen skeleton ${obj} name ${name}_bpf > ${skel}
    DEPENDS ${obj} COMMENT "BPF skeleton ${name}" VERBATIM)
  add_custom_target(${name}_skel_gen DEPENDS ${skel})
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_gen)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/bpf)
  target_link_libraries(${name}_skel INTERFACE PkgConfig::LIBBPF)
endfunction()
