#include "agent/agent.h"

int main(int argc, char** argv) { return fairway::agent::run(argc, argv); }
