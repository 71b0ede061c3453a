"use strict";

page.renew();
