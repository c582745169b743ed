#include "cli/app.h"

int main(int argc, char** argv) { return fairway::cli::run(argc, argv); }
