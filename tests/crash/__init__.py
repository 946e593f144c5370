"""Whatever dies, whenever: tests on a build of the core that can be made to die at any named step (step.hpp)."""
