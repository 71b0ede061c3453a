"use strict";

page.begin();
