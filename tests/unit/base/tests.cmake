# What is about threads runs under the thread sanitizer too.
foreach(name test_pool test_memory test_status)
  set_property(TEST base.${name} APPEND PROPERTY LABELS tsan)
endforeach()
