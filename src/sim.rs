//! A Bitrix24 portal, or many of them, simulated: queue, limits, OAuth server and scripted faults.
