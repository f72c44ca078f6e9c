# What is about threads runs under the thread sanitizer too.
foreach(name test_embedder test_model test_wrappers test_pausing test_single_flight
        test_fallback test_capped test_registry)
  set_property(TEST embedder.${name} APPEND PROPERTY LABELS tsan)
endforeach()
